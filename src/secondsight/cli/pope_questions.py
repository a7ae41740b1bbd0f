"""``secondsight pope-questions``: POPE's questions from any COCO-format instances file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from secondsight.benchmarks.pope_questions import build_pope_questions
from secondsight.errors import DataError, UserError, nearest
from secondsight.files import read_json, write_atomic

STRATEGIES = ("random", "popular", "adversarial")


def pope_questions(
    instances: Annotated[Path, typer.Option(help="COCO-format instances file.")],
    strategy: Annotated[
        str,
        typer.Option(
            help="Objects to deny: random, popular (most frequent) or adversarial (most often "
            "together with the image's own)."
        ),
    ] = "random",
    per_image: Annotated[
        int, typer.Option(help="Objects shown, and as many not shown, per image.")
    ] = 3,
    seed: Annotated[int, typer.Option(help="The same seed draws the same questions.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Write here instead of to standard output.")
    ] = None,
) -> None:
    """Build POPE questions (JSON lines) by the published procedure."""
    if strategy not in STRATEGIES:
        raise UserError(f"No strategy is called {strategy!r}.{nearest(strategy, STRATEGIES)}")
    if per_image < 1:
        raise UserError(f"--per-image must be at least 1, not {per_image}")
    if seed < 0:
        raise UserError(f"--seed must be at least 0, not {seed}")
    document = read_json(instances)
    try:
        asked = build_pope_questions(document, strategy=strategy, per_image=per_image, seed=seed)
    except (KeyError, TypeError) as error:
        raise DataError(f"{instances}: not in COCO's instances format ({error!r})") from None
    if not asked:
        raise DataError(f"{instances}: no image shows {per_image} different objects")
    text = "".join(json.dumps(question, ensure_ascii=False) + "\n" for question in asked)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        write_atomic(out, text)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror})") from None
    typer.echo(f"{len(asked)} questions: {out}", err=True)
