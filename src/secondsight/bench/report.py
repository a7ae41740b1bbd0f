"""A benchmark's outcome as a table and as a plot."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from secondsight.bench.measure import Measurement, Result


def table(result: Result, workload: str) -> Table:
    """The ratios of one workload; spreads, times and memory are in the JSON form."""
    caption = workload == "caption"
    unit = f"{result.tokens} tokens" if caption else f"{result.questions} questions"
    view = Table(title=f"{workload}: {unit}, median of {result.repeats}", title_justify="left")
    columns = ["method", "scheme", "seconds", "x regular"]
    columns += ["per token", "x floor"] if caption else ["questions/s"]
    for column in [*columns, "forwards", "single"]:
        view.add_column(column, justify="left" if column in ("method", "scheme") else "right")
    for one in result.measurements:
        if one.workload == workload:
            view.add_row(*_cells(one, caption))
    return view


def _cells(one: Measurement, caption: bool) -> list[str]:
    cells = [one.method, one.scheme, f"{one.seconds:.3f}", f"{one.ratio:.2f}"]
    if caption:
        cells += [_number(one.token_ratio), _number(one.floor_ratio)]
    else:
        cells.append(f"{one.per_second:.1f}")
    single = "" if one.single is None else f"{one.single:.0%}"
    return [*cells, str(one.forwards), single]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def about(result: Result) -> str:
    """What was measured on, in a line."""
    return (
        f"{result.model}: {result.parameters / 1e6:,.0f}M parameters in {result.dtype}, "
        f"{result.weight_bytes / 2**30:.2f} GiB, on {result.device}"
        + (f" with {result.threads} threads" if result.device == "cpu" else "")
    )


def plot(result: Result, path: Path) -> None:
    """When each token of a caption was there, by scheme; one panel per method.

    Args:
        result: The outcome.
        path: Where the picture goes; its ending says which kind (svg, png, pdf).
    """
    from matplotlib.figure import Figure

    captions = [one for one in result.measurements if one.times]
    regular = [one for one in captions if one.method == "regular"]
    methods = list(dict.fromkeys(one.method for one in captions if one.method != "regular"))
    figure = Figure(figsize=(3.4 * max(len(methods), 1), 3.2), layout="constrained")
    panels = figure.subplots(1, max(len(methods), 1), sharey=True, squeeze=False)[0]
    for panel, method in zip(panels, methods, strict=False):
        for one in [*regular, *(one for one in captions if one.method == method)]:
            line = "--" if one.scheme in ("regular", "naive") else "-"
            panel.plot(range(1, len(one.times) + 1), one.times, line, label=one.scheme)
        panel.set(title=method, xlabel="tokens")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("seconds")
    panels[-1].legend(fontsize="small")
    partial = path.with_name(f".{path.name}.part{path.suffix}")
    figure.savefig(partial, dpi=120)
    partial.replace(path)
