"""``make bench``: every workload with every contender, in rounds, each measurement in a process of its own.

Prints the report as Markdown; ``--json`` writes every sample. Contenders take turns, each round beginning with another
one, so that a slow minute of the machine meets all of them. Interrupted (Ctrl-C, SIGTERM), it reports what it has.
"""

from __future__ import annotations

import argparse
import compileall
import json
import shlex
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks import processes, report  # noqa: E402 - this file is a program, too
from tests.benchmarks.contenders import CONTENDERS, missing  # noqa: E402
from tests.benchmarks.measuring import Sample, measure  # noqa: E402
from tests.benchmarks.workloads import WORKLOADS  # noqa: E402

TIME_LIMIT = 60
LONG = 15
"""A peer's measurement that takes longer is not repeated: the rounds are there for the close ones."""


def run(samples: report.Samples, rounds: int, *, quick: bool, time_limit: float) -> None:
    """Fill *samples*, whose keys tell what to measure, one sample of each in every round."""
    for turn in range(rounds):
        began = time.monotonic()
        for name, taken in samples.items():
            order = list(taken)
            first = turn % len(order) if order else 0
            for contender in order[first:] + order[:first]:
                if _is_settled(contender, taken[contender]):
                    continue
                sample = _sample(name, contender, quick=quick, time_limit=time_limit)
                taken[contender].append(sample)
                line = report.line(WORKLOADS[name], sample)
                print(f"round {turn + 1}: {name}, {contender}: {line}", file=sys.stderr, flush=True)
        print(f"round {turn + 1} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def contenders(name: str, chosen: list[str] | None) -> list[str]:
    """Those of the workload that were asked for; classes of one's own take part in every workload."""
    own = [one for one in chosen or () if ":" in one]
    return [one for one in WORKLOADS[name].contenders if chosen is None or one in chosen] + own


def _is_settled(contender: str, taken: list[Sample]) -> bool:
    if not taken or contender.startswith("flowrra"):
        return False
    return taken[-1].took > LONG or bool(taken[-1].failure.startswith("skipped"))


def _sample(name: str, contender: str, *, quick: bool, time_limit: float) -> Sample:
    absent = missing(contender)
    if absent:
        return Sample(failure=f"skipped: {', '.join(absent)} is not installed")
    return measure(name, contender, quick=quick, time_limit=time_limit)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare flowrra with the libraries one would otherwise use.")
    parser.add_argument("--rounds", type=int, help="how often each contender is measured (default 3, quick 1)")
    parser.add_argument(
        "--only", type=_list, default=list(WORKLOADS), metavar="WORKLOAD[,…]", help=", ".join(WORKLOADS)
    )
    parser.add_argument("--contenders", type=_list, metavar="NAME[,…]", help="default: all; module:Class adds your own")
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT, metavar="SECONDS", help="of one measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work at all?")
    asked = parser.parse_args()
    unknown = [name for name in asked.only if name not in WORKLOADS]
    if unknown:
        parser.error(f"no such workload: {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    strangers = [one for one in asked.contenders or () if one not in CONTENDERS and ":" not in one]
    if strangers:
        parser.error(f"no such contender: {', '.join(strangers)}; there are {', '.join(CONTENDERS)}")
    processes.adopt_orphans()
    # As pip does with the libraries compared: where Python may write no bytecode (PYTHONDONTWRITEBYTECODE), a package
    # that is installed in place would be compiled anew in each process.
    for folder in ("flowrra", "tests/benchmarks"):
        compileall.compile_dir(ROOT / folder, quiet=1)
    rounds = asked.rounds or (1 if asked.quick else 3)
    samples: report.Samples = {name: {one: [] for one in contenders(name, asked.contenders)} for name in asked.only}
    # Both end the waiting for a sample, whose process is then ended, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(samples, rounds, quick=asked.quick, time_limit=asked.time_limit)
    except KeyboardInterrupt:
        print("interrupted; this is what was measured", file=sys.stderr)
    command = shlex.join(["python", "tests/benchmarks/run.py", *sys.argv[1:]])
    document = report.document(samples, command=command, quick=asked.quick)
    if asked.json:
        asked.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print(report.markdown(document))


def _list(text: str) -> list[str]:
    return text.split(",")


if __name__ == "__main__":
    main()
