"""A benchmark's outcome as a table and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rich import box
from rich.table import Table

from secondsight.extras import needed
from secondsight.profiling.results import Measurement, Result

_WIDEST: Final = 20
"""Characters of a name that is shown whole, whatever else there is to show."""


def table(result: Result, workload: str) -> Table:
    """The figures of one workload; spreads and times are in the JSON form."""
    unit = {
        "caption": f"{result.tokens} tokens",
        "yes/no": f"{result.questions} questions",
        "check": f"at most {result.tokens} tokens; {result.questions} questions",
    }[workload]
    view = Table(
        title=f"{workload}: {unit}, median of {result.repeats}",
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    found = rows(result, workload)
    for place, column in enumerate(columns(workload)):
        left = column in ("method", "scheme")
        shown = [row[place] for row in found] if left else column.split()
        widest = min(_WIDEST, max(map(len, shown)))
        view.add_column(column, justify="left" if left else "right", min_width=widest)
    for row in found:
        view.add_row(*row)
    return view


def columns(workload: str) -> list[str]:
    """The names of a workload's columns."""
    own = {
        "caption": ["x regular", "ms / token", "x", "x floor"],
        "yes/no": ["questions / s", "x regular", "x naive"],
        "check": ["x regular", "ms / question"],
    }[workload]
    return ["method", "scheme", "s", *own, "mem x", "passes", "single"]


def rows(result: Result, workload: str) -> list[list[str]]:
    """A workload's rows, as text."""
    found = [one for one in result.measurements if one.workload == workload]
    regular = next(one for one in found if one.scheme == "regular")
    naive = {one.method: one for one in found if one.scheme == "naive"}
    return [
        [
            one.method,
            one.scheme,
            f"{one.seconds:.3f}",
            *(
                _questions(one, regular, naive.get(one.method))
                if workload == "yes/no"
                else _caption(one)[: len(columns(workload)) - 6]
            ),
            f"{_memory(result, one) / _memory(result, regular):.2f}",
            str(one.forwards),
            "" if one.single is None else f"{one.single:.0%}",
        ]
        for one in found
    ]


def _caption(one: Measurement) -> list[str]:
    per_token = None if one.per_token is None else 1e3 * one.per_token
    return [f"{one.ratio:.2f}", *map(_number, (per_token, one.token_ratio, one.floor_ratio))]


def _questions(one: Measurement, regular: Measurement, naive: Measurement | None) -> list[str]:
    """Questions per second, and over those of regular and naive decoding."""
    return [
        f"{one.per_second:.1f}",
        f"{one.per_second / regular.per_second:.2f}",
        _number(None if naive is None else one.per_second / naive.per_second),
    ]


def _memory(result: Result, one: Measurement) -> int:
    """Memory at its highest, weights included."""
    return result.weight_bytes + one.peak_bytes


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def floors(result: Result) -> list[str]:
    """What the least is that each method can cost on a caption, a line each."""
    return [
        f"floor of {floor.method}: {floor.regular:.3f} s regular"
        + "".join(f" + {seconds:.3f} s view {n}" for n, seconds in enumerate(floor.views, start=1))
        for floor in result.floors
    ]


def about(result: Result) -> str:
    """What was measured on, in a line."""
    return (
        f"{result.model}: {result.parameters / 1e6:,.0f}M parameters in {result.dtype}, "
        f"{result.weight_bytes / 2**30:.2f} GiB, on {result.device}"
        + (f" with {result.threads} threads" if result.device == "cpu" else "")
    )


def plot(result: Result, path: Path) -> None:
    """What captions cost by their length, and by how many views are read.

    Args:
        result: The outcome.
        path: Where the image goes; its ending says which kind (svg, png, pdf).
    """
    with needed("eval", "A plot"):
        from matplotlib.figure import Figure
    captions = [one for one in result.measurements if one.times and one.scheme != "engine"]
    regular = [one for one in captions if one.method == "regular"]
    methods = list(dict.fromkeys(one.method for one in captions if one.method != "regular"))
    figure = Figure(figsize=(3.4 * (len(methods) + 1), 3.2), layout="constrained")
    *panels, last = figure.subplots(1, len(methods) + 1, squeeze=False)[0]
    for panel, method in zip(panels, methods, strict=True):
        for one in [*regular, *(one for one in captions if one.method == method)]:
            line = "--" if one.scheme in ("regular", "naive") else "-"
            panel.plot(range(1, len(one.times) + 1), one.times, line, label=one.scheme)
        panel.set(title=method, xlabel="tokens", ylabel="seconds")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small")
    views = {floor.method: len(floor.views) + 1 for floor in result.floors}
    for scheme in dict.fromkeys(one.scheme for one in captions if one.scheme != "regular"):
        points = [(views[one.method], one) for one in captions if one.scheme == scheme]
        points = sorted([(1, regular[0]), *points], key=lambda point: point[0])
        costs = [1e3 * (one.per_token or 0) for _, one in points]
        line = "--" if scheme == "naive" else "-"
        last.plot([number for number, _ in points], costs, line, marker="o", label=scheme)
    last.set(title="every method", xlabel="views", ylabel="ms per token")
    last.set_xticks(sorted({1, *views.values()}))
    last.set_ylim(bottom=0)
    last.grid(alpha=0.3)
    last.legend(fontsize="small")
    partial = path.with_name(f".{path.name}.part{path.suffix}")
    figure.savefig(partial, dpi=120)
    partial.replace(path)
