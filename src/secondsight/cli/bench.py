"""``secondsight bench``: what decoding methods cost, on one's own hardware and model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secondsight.cli import options
from secondsight.cli.loading import Loading, loads_a_model
from secondsight.cli.output import quiet, stderr, stdout
from secondsight.errors import UserError
from secondsight.extras import require

if TYPE_CHECKING:
    from PIL import Image

    from secondsight.inference import Model


@loads_a_model(without=["preset"])
def bench(
    random_weights: Annotated[
        str | None,
        typer.Option(help="Instead of a model: random weights, shaped llava-1.5-7b, 1b or tiny."),
    ] = None,
    single: Annotated[
        float, typer.Option(help="Random weights: share of steps with one plausible token.")
    ] = 0.5,
    single_first: Annotated[
        float, typer.Option(help="Random weights: the same of the first tokens of yes/no answers.")
    ] = 0.7,
    image: Annotated[
        str | None,
        typer.Option(help="The image; the shipped one for the bundled model, otherwise random."),
    ] = None,
    methods: Annotated[
        str, typer.Option(help="Methods, separated by commas.")
    ] = "ritual,vcd,m3id,ritual+vcd",
    workloads: Annotated[
        str,
        typer.Option(help="Of caption, yes/no and check (a caption that is asked about), some."),
    ] = "caption,yes/no",
    schemes: Annotated[
        str, typer.Option(help="What to time besides regular decoding, separated by commas.")
    ] = "naive,auto,joint,lazy",
    tokens: Annotated[int, typer.Option(help="Tokens per caption.", min=2)] = 64,
    questions: Annotated[int, typer.Option(help="Questions per image.", min=1, max=10)] = 6,
    repeats: Annotated[int, typer.Option(help="How often each scheme is timed.", min=1)] = 5,
    warmup: Annotated[int, typer.Option(help="Repeats that do not count.", min=0)] = 1,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; torch's choice if left out.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the captions' times: svg, png, pdf.")
    ] = None,
    as_json: options.AsJson = False,
    *,
    loading: Loading,
) -> None:
    """Time each method: transformers' regular decoding, the papers' two passes, and ours.

    All schemes take turns within a repeat, so that a machine that drifts does not favour one; the
    figures are medians, and ratios are medians of the ratios within a repeat. "x floor" compares
    with the least that a method can cost: regular decoding plus one reading of its other views.
    "engine" is regular decoding by our engine; "single" is how often a single token was plausible,
    which is when the other views need not be read.

    [bold]Examples[/bold]

      [cyan]secondsight bench[/cyan]
      [cyan]secondsight bench --random-weights 1b --dtype bfloat16[/cyan]
      [cyan]secondsight bench -m llava-hf/llava-1.5-7b-hf --methods ritual --json[/cyan]
    """
    quiet()
    import torch

    from secondsight.methods import split
    from secondsight.profiling import run
    from secondsight.profiling.report import about, floors, table
    from secondsight.profiling.report import plot as draw
    from secondsight.profiling.run import SCHEMES, WORKLOADS

    chosen = split(methods)
    if plot is not None:
        require("eval", "A plot", "matplotlib")
    wanted = _chosen("workloads", workloads, WORKLOADS)
    timed = _chosen("schemes", schemes, SCHEMES)
    if threads is not None:
        torch.set_num_threads(threads)
    loaded = _model(loading, random_weights, single)
    with stderr().status("Starting ...") as status:
        result = run(
            loaded,
            chosen,
            tokens=tokens,
            questions=questions,
            repeats=repeats,
            warmup=warmup,
            workloads=wanted,
            schemes=timed,
            image=_image(image, loaded.name),
            single=single if random_weights else None,
            single_first=single_first if random_weights else None,
            progress=status.update,
        )
    if plot is not None:
        draw(result, plot)
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
        return
    console = stdout()
    console.print(about(result), highlight=False)
    for workload in wanted:
        console.print(table(result, workload))
    for line in floors(result):
        console.print(line, highlight=False)


def _chosen(option: str, text: str, known: Sequence[str]) -> list[str]:
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    if set(wanted) - set(known) or not wanted:
        raise UserError(f"--{option} takes {', '.join(known)}, not {text!r}.")
    return wanted


def _image(source: str | None, model: str) -> Image.Image | None:
    from secondsight.checkpoints.loading import BUNDLED
    from secondsight.images import demo_image, open_image

    if source is None and model != BUNDLED:
        return None
    return open_image(demo_image() if source is None else source)


def _model(loading: Loading, shape: str | None, single: float) -> Model:
    if shape is None:
        return loading.load()
    import torch

    if loading.model is not None:
        raise UserError("Give either --model or --random-weights.")
    from secondsight.checkpoints.placement import placement
    from secondsight.profiling import random_model

    place = placement(loading.device, "bfloat16" if loading.dtype == "auto" else loading.dtype)
    with stderr().status(f"Building random weights of the shape {shape} ..."):
        return random_model(
            shape, dtype=place.weights_type(torch.bfloat16), device=place.device, single=single
        )
