"""Stage 6: write the figures of evaluations into the model's card.

Usage:
    python -m training.card build/training/scores_test.json build/training/scores_others.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .tokenizer import BUNDLED

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

ROWS = (
    ("yes/no, random negatives", "pope_random", "accuracy", 0.97),
    ("yes/no, popular negatives", "pope_popular", "accuracy", 0.95),
    ("yes/no, adversarial negatives", "pope_adversarial", "accuracy", 0.93),
    ("share of yes, adversarial", "pope_adversarial", "yes_ratio", None),
    ("captions: recall", "captions", "recall", 0.92),
    ("captions: CHAIRi (less is better)", "captions", "chair_i", 0.04),
    ("captions: CHAIRs (less is better)", "captions", "chair_s", None),
    ("count, yes/no", "mme_count", "accuracy", 0.85),
    ("position, yes/no", "mme_position", "accuracy", 0.85),
    ("colour, yes/no", "mme_color", "accuracy", 0.85),
    ("existence, yes/no", "mme_existence", "accuracy", None),
    ("count, open", "open_count", "accuracy", 0.85),
    ("position, open", "open_position", "accuracy", 0.85),
    ("colour, open", "open_color", "accuracy", 0.85),
)


def table(reports: list[dict[str, Any]]) -> str:
    """The figures as Markdown: a row per measure, a column per split."""
    splits = [f"{r['split']} ({r['scenes']} scenes)" for r in reports]
    lines = [
        f"| {' | '.join(('greedy', 'aim on test', *splits))} |",
        "| --- |" + " ---: |" * (len(splits) + 1),
    ]
    for label, part, key, aim in ROWS:
        values = " | ".join(f"{r[part][key]:.3f}" for r in reports)
        lines.append(f"| {label} | {'' if aim is None else aim} | {values} |")
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", type=Path, nargs="+")
    parser.add_argument("--card", type=Path, default=BUNDLED / "README.md")
    args = parser.parse_args()
    reports = [report for path in args.scores for report in json.loads(path.read_text())]
    head, _, rest = args.card.read_text().partition(BEGIN)
    tail = rest.partition(END)[2]
    args.card.write_text(f"{head}{BEGIN}\n{table(reports)}\n{END}{tail}")
    figures = [{k: v for k, v in r.items() if k != "examples"} for r in reports]
    (args.card.parent / "scores.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
