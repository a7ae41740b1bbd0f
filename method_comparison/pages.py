"""What the comparison says of one method, on that method's own page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from findings import Scores, cell, compared
from tables import SPLITS, TASKS, Table

BEGIN, END = "<!-- evidence: begin -->", "<!-- evidence: end -->"


def write_pages(results: Mapping[Table, Scores], folder: Path) -> list[Path]:
    """Fills the marked place of each method's page.

    Args:
        results: The scores of the finished tables.
        folder: Where the pages are, ``NAME.md`` each.

    Returns:
        The pages that were written.
    """
    written = []
    for page in sorted(folder.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        head, begin, rest = text.partition(BEGIN)
        _, end, tail = rest.partition(END)
        block = evidence(results, page.stem) if begin and end else None
        if block is not None:
            page.write_text(f"{head}{BEGIN}\n\n{block}\n\n{END}{tail}", encoding="utf-8")
            written.append(page)
    return written


def evidence(results: Mapping[Table, Scores], name: str) -> str | None:
    """A table of one method against its best controls; None where it was not compared."""
    lines = [
        f"| | {' | '.join(f'`{split}`' for split in SPLITS)} |",
        "| --- |" + " --- |" * len(SPLITS),
    ]
    found = {
        (row["method"], table.task, table.temperature, table.split): cell(scores, row)
        for table, scores in results.items()
        for row in compared(scores)
        if row["method"].partition(":")[0] == name
    }
    methods = list(dict.fromkeys(key[0] for key in found))
    for method in methods:
        for task, title in TASKS.items():
            for temperature in (1.0, 0.0):
                how = "greedy" if temperature == 0 else "temperature 1"
                cells = [found.get((method, task, temperature, split), "") for split in SPLITS]
                if any(cells):
                    own = "" if len(methods) == 1 else f"`{method}`: "
                    what = f"{own}{title}, {how}"
                    lines.append(f"| {what} | {' | '.join(cells)} |")
    if not found:
        return None
    return "\n".join(
        [
            "The bundled model on [StickerScenes](../stickers.md), against the best control, in "
            "points with 95% intervals: CHAIRi of captions (less is better; in brackets recall), "
            "accuracy of yes/no.",
            "",
            *lines,
        ]
    )
