"""Measure what docs/performance.md shows, and write it there: ``python tools/performance.py``.

Each section of the page, between ``<!-- name -->`` and ``<!-- end -->``, is replaced by what was
measured; the bundled model's also draws docs/performance.svg. On two free cores: bundled 2 minutes,
1b about 20, 7b about 10 (and 18 GiB of memory). Name the sections: ``bundled 1b 7b``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from PIL import Image

import secondsight
from secondsight.profiling import Measurement, Result, random_model, run
from secondsight.profiling.report import about, columns, floors, plot, rows

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"

Target = tuple[str, float, float, bool]
"""What is asked for, the limit, what was measured, and whether less is better."""


def main() -> None:
    """Measure the sections that were named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", default=["bundled", "1b"])
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    if unknown := set(asked.sections) - set(SECTIONS):
        parser.error(
            f"there is no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}"
        )
    for name in asked.sections:
        text = SECTIONS[name](asked.repeats)
        page = DOCS / "performance.md"
        section = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        old = page.read_text(encoding="utf-8")
        place = section.search(old)
        if place is None:
            raise SystemExit(f"docs/performance.md has no section for {name}.")
        page.write_text(old[: place.end(1)] + text + old[place.start(2) :], encoding="utf-8")
        print(text)


def bundled(repeats: int) -> str:
    """The bundled model on the picture that ships with it, by every scheme."""
    model = secondsight.load(device="cpu")
    with Image.open(secondsight.demo_image()) as image:
        result = run(
            model, repeats=2 * repeats + 1, warmup=2, image=image.convert("RGB"), progress=print
        )
    plot(result, DOCS / "performance.svg")
    regular, engine = (found(result, "regular", scheme) for scheme in ("regular", "engine"))
    return section(
        result,
        [
            *(
                (f"{method}: caption, x regular", 1.35, found(result, method, "auto").ratio, True)
                for method in ("ritual", "m3id")
            ),
            ("engine: ms per token over regular", 0.3, 1e3 * (rate(engine) - rate(regular)), True),
        ],
    )


def one_billion(repeats: int) -> str:
    """Random weights of 1B shape in bfloat16, half of the steps and 70% of first tokens sure."""
    model = random_model("1b")
    methods = ("ritual", "m3id", "ritual+vcd")
    captions = run(
        model,
        methods,
        repeats=repeats,
        warmup=0,
        workloads=["caption"],
        schemes=["auto"],
        single=0.5,
        progress=print,
    )
    questions = run(
        model,
        methods[:2],
        repeats=repeats,
        warmup=0,
        workloads=["yes/no"],
        schemes=["naive", "auto"],
        single_first=0.7,
        progress=print,
    )
    limits = {"ritual": 1.20, "ritual+vcd": 1.35, "m3id": 1.15}
    auto = {method: found(captions, method, "auto") for method in methods}
    targets: list[Target] = [
        (f"{method}: time per token, x regular", limits[method], one.token_ratio or 0, True)
        for method, one in auto.items()
    ]
    targets += [
        (f"{method}: caption, x floor", 1.10, one.floor_ratio or 0, True)
        for method, one in auto.items()
    ]
    for method, scheme in (("ritual", "auto, shared views"), ("ritual", "auto"), ("m3id", "auto")):
        ours = found(questions, method, scheme).per_second
        for other, limit in (("naive", 3.0), ("regular", 1.5)):
            base = found(questions, method if other == "naive" else "regular", other).per_second
            targets.append(
                (f"{method}, {scheme}: questions/s, x {other}", limit, ours / base, False)
            )
    return section(captions, targets[:6]) + section(questions, targets[6:])


def seven_billion(_: int) -> str:
    """Memory, once, on random weights of LLaVA-1.5-7B's shape in bfloat16, a few tokens."""
    result = run(
        random_model("llava-1.5-7b"),
        ("ritual", "m3id"),
        tokens=4,
        repeats=1,
        warmup=0,
        workloads=["caption"],
        schemes=["joint", "auto"],
        progress=print,
    )

    def memory(one: Measurement) -> int:
        return result.weight_bytes + one.peak_bytes

    base = memory(found(result, "regular", "regular"))
    return section(
        result,
        [
            (f"{method}, {scheme}: memory, x regular", 1.10, memory(one) / base, True)
            for method in ("ritual", "m3id")
            for scheme in ("joint", "auto")
            for one in [found(result, method, scheme)]
        ],
    )


def found(result: Result, method: str, scheme: str) -> Measurement:
    """One measurement of a result with a single workload, or of its captions."""
    return next(one for one in result.measurements if (one.method, one.scheme) == (method, scheme))


def rate(one: Measurement) -> float:
    """Seconds per token."""
    return one.per_token or 0.0


def section(result: Result, targets: Sequence[Target]) -> str:
    """A result as Markdown: what was measured on, tables, floors, targets."""
    lines = [f"{about(result)}; median of {result.repeats}.\n"]
    for workload in dict.fromkeys(one.workload for one in result.measurements):
        unit = f"{result.tokens} tokens" if workload == "caption" else f"{result.questions} asked"
        lines.append(f"**{workload}**, {unit}\n")
        lines.append(table(columns(workload), rows(result, workload)))
    if result.floors:
        lines.append("\n".join(f"- {line}" for line in floors(result)) + "\n")
    judged = [
        [
            what,
            f"{'at most' if less else 'at least'} {limit:.2f}",
            f"{value:.2f}",
            "met" if (value <= limit if less else value >= limit) else "missed",
        ]
        for what, limit, value, less in targets
    ]
    lines.append(table(["target", "asked", "measured", ""], judged))
    return "\n".join(lines)


def table(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    rule = ["---"] * len(names)
    return "".join(f"| {' | '.join(line)} |\n" for line in (names, rule, *lines))


SECTIONS: Final[dict[str, Callable[[int], str]]] = {
    "bundled": bundled,
    "1b": one_billion,
    "7b": seven_billion,
}

if __name__ == "__main__":
    main()
