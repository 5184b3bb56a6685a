"""Samples in, Markdown out: the targets, the medians with their spread, the machine and how each was used."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from tests.benchmarks import machine
from tests.benchmarks.contenders import contender_class
from tests.benchmarks.measuring import Sample
from tests.benchmarks.targets import TARGETS, Target, Values, Verdict, judge
from tests.benchmarks.workloads import WORKLOADS, Metric, Workload

Samples = dict[str, dict[str, list[Sample]]]


def document(samples: Samples, command: str, *, quick: bool) -> dict[str, Any]:
    """Everything that was measured and what follows, ready for JSON."""
    targets = [(target, judge(target, by_metric(samples[target.workload]))) for target in _of_interest(samples)]
    return {
        "command": command,
        "measured": datetime.now(UTC).isoformat(timespec="minutes"),
        "quick": quick,
        "machine": machine.facts(),
        "versions": machine.versions(),
        "targets": [asdict(verdict) | {"met": verdict.met} for _, verdict in targets],
        "samples": {
            name: {contender: [asdict(sample) for sample in taken] for contender, taken in each.items()}
            for name, each in samples.items()
        },
    }


def _of_interest(samples: Samples) -> Iterator[Target]:
    return (target for target in TARGETS if target.ours in samples.get(target.workload, {}))


def by_metric(taken: dict[str, list[Sample]]) -> Values:
    """Values of each contender and metric, one for each round; None where there was none."""
    metrics = {metric for samples in taken.values() for sample in samples for metric in sample.values}
    return {
        contender: {metric: [sample.values.get(metric) for sample in samples] for metric in metrics}
        for contender, samples in taken.items()
    }


def markdown(document: dict[str, Any]) -> str:
    """The report for a person."""
    samples: Samples = {
        name: {contender: [Sample(**sample) for sample in taken] for contender, taken in each.items()}
        for name, each in document["samples"].items()
    }
    quick = document["quick"]
    parts = [_surroundings(document)]
    if quick:
        parts.append("**A quick run: sizes too small for a comparison.**")
    parts += ["## Summary", "\n".join(_summary(samples, quick=quick))]
    verdicts = [judge(target, by_metric(samples[target.workload])) for target in _of_interest(samples)]
    if verdicts:
        parts += ["## Targets", "\n".join(_targets(verdicts, samples, quick=quick))]
    parts.append("## All measurements")
    for name, taken in samples.items():
        parts += [f"### {WORKLOADS[name].heading(quick=quick)}", "\n".join(_table(name, taken, quick=quick))]
    parts += ["## How each was used", "\n".join(_ways(samples))]
    return "\n\n".join(parts)


def _surroundings(document: dict[str, Any]) -> str:
    facts = document["machine"]
    present = {name: number for name, number in document["versions"].items() if number != "not installed"}
    return (
        f"Measured {document['measured']} with `{document['command']}` on {facts['processor']}, {facts['cores']} cores "
        f"(load {facts['load']} at the end), {facts['memory'] / 2**30:.0f} GiB, {facts['system']}, {facts['python']}, "
        f"{facts['workers']} workers; {', '.join(f'{name} {number}' for name, number in present.items())}. "
        "Contenders take turns, each measurement in a process of its own, results checked. Median [lowest–highest]."
    )


def _summary(samples: Samples, *, quick: bool) -> Iterator[str]:
    """A line for each figure: medians only, ours in the order of the workload, the others' from the best on."""
    yield "| | flowrra | others, best first |"
    yield "|---|---|---|"
    for name, taken in samples.items():
        workload = WORKLOADS[name]
        for key, metric in workload.metrics.items():
            medians = {one: middle for one, given in taken.items() if (middle := _median(given, key)) is not None}
            order = sorted(medians, key=lambda one: medians[one], reverse=metric.more_is_better)
            ours = [one for one in taken if one in medians and _is_ours(one)]
            what = workload.heading(quick=quick) + (f": {metric.title}" if len(workload.metrics) > 1 else "")
            texts = {
                one: f"{_title(one).removeprefix('flowrra, ')} {amount(medians[one], metric.unit)}" for one in order
            }
            others = [texts[one] for one in order if not _is_ours(one)]
            failed = [_title(one) for one, given in taken.items() if given and all(sample.failure for sample in given)]
            others += [f"no result: {', '.join(failed)}"] if failed else []
            yield f"| {what} | {', '.join(texts[one] for one in ours)} | {', '.join(others)} |"


def _is_ours(contender: str) -> bool:
    return contender.startswith("flowrra")


def _targets(verdicts: Sequence[Verdict], samples: Samples, *, quick: bool) -> Iterator[str]:
    yield "| workload | flowrra | held against | reached | target | |"
    yield "|---|---|---|---|---|---|"
    for verdict in verdicts:
        target = verdict.target
        workload = WORKLOADS[target.workload]
        metric = workload.metrics[target.metric]
        what = workload.heading(quick=quick) + (f": {metric.title}" if len(workload.metrics) > 1 else "")
        taken = samples[target.workload]
        ours = f"{_title(target.ours)}: {figures(metric, taken[target.ours], target.metric)}"
        cells = (what, ours, _peer(verdict, taken), _reached(verdict, metric), _bound(target, metric), _met(verdict))
        yield f"| {' | '.join(cells)} |"


def _peer(verdict: Verdict, taken: dict[str, list[Sample]]) -> str:
    target = verdict.target
    if not target.peers:
        return "–"
    if not verdict.peer:
        return "no result of " + ", ".join(map(_title, target.peers))
    name = target.peers_metric or target.metric
    metric = WORKLOADS[target.workload].metrics[name]
    which = f" ({metric.title})" if target.peers_metric else ""
    best = "best: " if len(target.peers) > 1 else ""
    return f"{best}{_title(verdict.peer)}{which}: {figures(metric, taken[verdict.peer], name)}"


def _reached(verdict: Verdict, metric: Metric) -> str:
    if verdict.reached is None or verdict.spread is None:
        return "–"
    show = (lambda value: f"{value:.2f} ×") if verdict.target.peers else (lambda value: amount(value, metric.unit))
    low, high = verdict.spread
    return show(verdict.reached) + (f" [{show(low)}–{show(high)}]" if low != high else "")


def _bound(target: Target, metric: Metric) -> str:
    sign = "≥" if target.at_least else "≤"
    bound = f"{target.bound:g} ×" if target.peers else amount(target.bound, metric.unit)
    return f"{'aim ' if target.aim else ''}{sign} {bound}"


def _met(verdict: Verdict) -> str:
    return {True: "met", False: "**not met**", None: "not measured"}[verdict.met]


def _table(name: str, taken: dict[str, list[Sample]], *, quick: bool) -> Iterator[str]:
    workload = WORKLOADS[name]
    size = workload.quick if quick else workload.size
    heads = [head for metric in workload.metrics.values() for head in _heads(metric)]
    yield f"| | {' | '.join(heads)} | |"
    yield "|---" * (len(heads) + 2) + "|"
    for contender, samples in taken.items():
        cells = [cell for key in workload.metrics for cell in _cells(workload.metrics[key], samples, key, size)]
        yield f"| {_title(contender)} | {' | '.join(cells)} | {remarks(samples)} |"


def _heads(metric: Metric) -> list[str]:
    return [metric.title, *([f"per {metric.per}"] if metric.per else [])]


def _cells(metric: Metric, samples: list[Sample], key: str, size: int) -> list[str]:
    cells = [figures(metric, samples, key)]
    if metric.per:
        middle = _median(samples, key)
        cells.append("–" if middle is None else amount(middle / size, metric.unit))
    return cells


def _median(samples: list[Sample], key: str) -> float | None:
    values = [sample.values[key] for sample in samples if key in sample.values]
    return statistics.median(values) if values else None


def figures(metric: Metric, samples: list[Sample], key: str) -> str:
    values = [sample.values[key] for sample in samples if key in sample.values]
    if not values:
        return "–"
    text = amount(statistics.median(values), metric.unit)
    if min(values) == max(values):
        return text
    return f"{text} [{amount(min(values), metric.unit)}–{amount(max(values), metric.unit)}]"


def remarks(samples: list[Sample]) -> str:
    """What was said in any round, most recent first, and in how many there was no result."""
    failures = [sample.failure for sample in samples if sample.failure]
    said = list(dict.fromkeys([*(sample.remark for sample in reversed(samples) if sample.remark), *failures]))
    lost = f" ({len(failures)} of {len(samples)} rounds)" if 0 < len(failures) < len(samples) else ""
    return "; ".join(said).replace("|", "\\|") + lost


def _ways(samples: Samples) -> Iterator[str]:
    used = dict.fromkeys(contender for taken in samples.values() for contender in taken)
    for contender in used:
        how = contender_class(contender).how
        if how:
            yield f"- {_title(contender)} (`{contender}`): {how}."


def _title(contender: str) -> str:
    return contender_class(contender).title


def line(workload: Workload, sample: Sample) -> str:
    """One sample, for whoever watches."""
    values = [f"{metric.title} {figures(metric, [sample], key)}" for key, metric in workload.metrics.items()]
    return sample.failure or ", ".join(values) + (f" ({sample.remark})" if sample.remark else "")


def amount(value: float, unit: str) -> str:
    if unit == "s":
        return _seconds(value)
    if unit == "B":
        return _bytes(value)
    return {"share": f"{value:.3f}", "×": f"{value:.2f}"}.get(unit, f"{value:g}")


def _seconds(value: float) -> str:
    if abs(value) < 1e-3:
        return f"{value * 1e6:.3g} µs"
    return f"{value * 1e3:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"


def _bytes(value: float) -> str:
    if abs(value) < 10_000:
        return f"{value:,.0f} B"
    return f"{value / 1e6:.3g} MB" if abs(value) >= 1e6 else f"{value / 1e3:.3g} kB"
