"""``make bench``: every workload with every contender, in rounds, each measurement in a process of its own.

Prints the report as Markdown and writes it, and the measurements as JSON, into ``build-report/``. Contenders take
turns, each round beginning with another one, so that a slow minute of the machine meets all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks import report  # noqa: E402 - this file is a program, too
from tests.benchmarks.report import Sample  # noqa: E402
from tests.benchmarks.workloads import BEGUN, WORKLOADS  # noqa: E402

TIME_LIMIT = 120
CLEAN_UP_SECONDS = 5


def measure(workload: str, contender: str, *, quick: bool, time_limit: float = TIME_LIMIT) -> Sample:
    """Measure once in a fresh process. A crash, a wrong result or a hang is a sample too: one without a time."""
    command = [sys.executable, "-m", "tests.benchmarks.workloads", workload, contender, *(["--quick"] if quick else [])]
    env = {**os.environ, BEGUN: repr(time.monotonic())}
    # Files, because processes that a library leaves behind would hold a pipe open.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=errors, start_new_session=True)
        try:
            code = child.wait(time_limit)
        except subprocess.TimeoutExpired:
            return Sample(None, f"no result in {time_limit:g} s")
        finally:
            _end_session(child)
        out.seek(0)
        errors.seek(0)
        return _sample(code, out.read(), errors.read())


def _sample(code: int, out: str, errors: str) -> Sample:
    if code != 0:
        return Sample(None, (errors.strip().splitlines() or [f"exit code {code}"])[-1])
    answer = json.loads(out.splitlines()[-1])
    return Sample(answer["seconds"], answer["remark"])


def _end_session(child: subprocess.Popen[bytes]) -> None:
    """Let the helpers of a library clean up, then end what is still there of the session, a hanging child included."""
    give_up = time.monotonic() + (CLEAN_UP_SECONDS if child.returncode is not None else 0)
    while _exists(child.pid) and time.monotonic() < give_up:
        time.sleep(0.02)
    if _exists(child.pid):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def run(names: list[str], rounds: int, *, quick: bool) -> report.Samples:
    """Return every sample by workload and contender."""
    samples: report.Samples = {name: {contender: [] for contender in WORKLOADS[name].contenders} for name in names}
    for turn in range(rounds):
        for name in names:
            contenders = WORKLOADS[name].contenders
            first = turn % len(contenders)
            for contender in contenders[first:] + contenders[:first]:
                sample = measure(name, contender, quick=quick)
                samples[name][contender].append(sample)
                print(f"round {turn + 1}: {name}, {contender}: {report.cell(sample)}", file=sys.stderr, flush=True)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare flowrra with the libraries one would otherwise use.")
    parser.add_argument("--quick", action="store_true", help="one round of small sizes: does it work at all?")
    parser.add_argument("--rounds", type=int, help="how often each contender is measured (default 5, quick 1)")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument("--output", type=Path, default=ROOT / "build-report", metavar="FOLDER")
    asked = parser.parse_args()
    samples = run(asked.only, asked.rounds or (1 if asked.quick else 5), quick=asked.quick)
    document = report.document(samples, command=f"python tests/benchmarks/run.py {' '.join(sys.argv[1:])}".strip())
    asked.output.mkdir(exist_ok=True)
    asked.output.joinpath("benchmarks.json").write_text(json.dumps(document, indent=1) + "\n")
    text = report.markdown(document, quick=asked.quick)
    asked.output.joinpath("benchmarks.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
