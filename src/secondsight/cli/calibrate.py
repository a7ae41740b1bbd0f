"""``secondsight calibrate``: what a model's yes and no about its own answers mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from secondsight.cli.loading import Loading, loads_a_model
from secondsight.cli.output import say, stdout
from secondsight.errors import UserError


@loads_a_model()
def calibrate(
    out: Annotated[Path, typer.Option(help="Where the calibration goes.", metavar="FILE")] = Path(
        "doubts.json"
    ),
    instances: Annotated[
        Path | None,
        typer.Option(
            help="COCO-format instances file of the images; left out: StickerScenes' validation "
            "scenes, which only the bundled model knows.",
            metavar="FILE",
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images.", metavar="FOLDER")
    ] = None,
    question: Annotated[
        str, typer.Option("--question", "-q", help="The instruction.", metavar="TEXT")
    ] = "Please describe this image in detail.",
    limit: Annotated[int, typer.Option(help="At most so many images, the first ones.")] = 500,
    controls: Annotated[
        bool, typer.Option("--controls", help="Fit check-token and check-blank as well.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Images described together.")] = 8,
    *,
    loading: Loading,
) -> None:
    """Fit how likely a model's statements are made up, on images whose objects are known.

    [bold]Examples[/bold]

      [cyan]secondsight calibrate -m NAME --instances instances_val2014.json --images val2014[/cyan]

    The images are described, the model is asked about all that it has stated, and a logistic
    function of a few weights is fitted to what was made up. Put the file beside the model's
    config.json as doubts.json, or give it to load(calibrations=FILE) and --calibrations FILE.
    Calibrate on other images than those that you report on.
    """
    from secondsight.benchmarks.calibrating import calibrate as run
    from secondsight.benchmarks.calibrating import known_images
    from secondsight.cli.progress import progress
    from secondsight.files import check_writable

    if limit < 1 or batch_size < 1:
        raise UserError("--limit and --batch-size must be at least 1.")
    if instances is None and loading.model is not None:
        raise UserError("Say which images are known: --instances FILE --images FOLDER.")
    check_writable(out)
    samples, truth = known_images(instances, images, question, limit)
    model = loading.load()
    with progress(len(samples) * (2 if controls else 1), 0) as advance:
        found = run(
            model, samples, truth, controls=controls, batch_size=batch_size, advance=advance
        )
    found.calibrations.write(out)
    table = Table("statements", "number", "made up", "bias", "refusal", "views", "token")
    for kind, one in found.calibrations.by_kind.items():
        count, wrong = found.statements.get(kind, (None, None))
        weights = [f"{value:.2f}" for value in (one.bias, one.refusal, one.views, one.token)]
        table.add_row(kind, str(count or ""), str(wrong or ""), *weights)
    stdout().print(table)
    say(f"{out}: fitted on {len(samples)} images.")
