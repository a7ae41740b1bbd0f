"""``secondsight trace``: one answer, with everything that happened on the way."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from secondsight.cli import images as naming
from secondsight.cli import options
from secondsight.cli.loading import Loading, loads_a_model
from secondsight.cli.output import say
from secondsight.errors import UserError

if TYPE_CHECKING:
    from secondsight.trace import Trace

_REPORT = "Report"


class Format(str, Enum):
    """What a report can be written as."""

    HTML = "html"
    MD = "md"
    JSON = "json"


WRITERS: Final[dict[Format, Callable[[Trace], str]]] = {
    Format.HTML: lambda trace: trace.to_html(),
    Format.MD: lambda trace: trace.to_markdown(),
    Format.JSON: lambda trace: trace.to_json(indent=1) + "\n",
}


ENDINGS: Final = {
    ".html": Format.HTML,
    ".htm": Format.HTML,
    ".md": Format.MD,
    ".markdown": Format.MD,
    ".json": Format.JSON,
}


@loads_a_model()
def trace(
    images: naming.Together = None,
    question: options.Question = options.DESCRIBE,
    no_image: naming.NoImage = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The report; its folder is made if need be. Left out: trace.html, .md or .json.",
            metavar="FILE",
            show_default=False,
            rich_help_panel=_REPORT,
        ),
    ] = None,
    report_format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="html, md or json; left out: by the ending of --out.",
            show_default=False,
            rich_help_panel=_REPORT,
        ),
    ] = None,
    attentions: Annotated[
        bool,
        typer.Option(help="Record attention to the patches.", rich_help_panel=_REPORT),
    ] = True,
    rollout: Annotated[
        bool,
        typer.Option(
            "--rollout",
            help="Also roll attention out through the layers.",
            rich_help_panel=_REPORT,
        ),
    ] = False,
    layers: Annotated[
        str,
        typer.Option(
            help="Layers to show one by one, calls and heads: such as 0,4-7, or all.",
            metavar="LAYERS",
            show_default=False,
            rich_help_panel=_REPORT,
        ),
    ] = "",
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Write the whole tensors to this file, in safetensors' format.",
            metavar="FILE",
            rich_help_panel=_REPORT,
        ),
    ] = None,
    method: options.MethodSpec = "regular",
    temperature: options.Temperature = 0.0,
    top_p: options.TopP = 1.0,
    top_k: options.TopK = None,
    max_new_tokens: options.MaxNewTokens = 64,
    seed: options.Seed = 0,
    stop: options.Stop = None,
    plugin: options.Plugin = None,
    *,
    loading: Loading,
) -> None:
    """Answer a question, and record everything from the pixels to each token.

    The report says what was loaded, how the prompt and the image became the model's inputs,
    which calls the data made, and for every token what each view thought of it, how much it
    depended on the image, and where the model looked.

    [bold]Examples[/bold]

      [cyan]secondsight trace --out report.html[/cyan]
      [cyan]secondsight trace cat.jpg -q "Is there a dog?" --method ritual --out cat.html[/cyan]
      [cyan]secondsight trace cat.jpg -m llava-hf/llava-1.5-7b-hf --layers 14,15 --rollout[/cyan]
      [cyan]secondsight trace before.jpg after.jpg -q "What changed?" -m NAME[/cyan]
      [cyan]secondsight trace cat.jpg --format json --keep tensors.safetensors[/cyan]
    """
    kind = report_format or _format_of(out)
    target = out or Path(f"trace.{kind.value}")
    options.checked_question(question)

    from secondsight.cli.plugins import load_plugins
    from secondsight.files import check_writable, write_text
    from secondsight.methods import create

    check_writable(target)
    if keep is not None:
        check_writable(keep)
        if keep.resolve() == target.resolve():
            raise UserError(f"--out and --keep are both {str(keep)!r}. Name two files.")
    load_plugins(plugin or ())
    chosen = create(method)
    # Opened now, so that a mistake shows before a large model is loaded.
    opened = naming.opened(naming.named(images, no_image))
    loaded = loading.load()
    record = loaded.trace(
        opened,
        question,
        chosen,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        stop=stop,
        attentions=attentions,
        rollout=rollout,
        layers=layers,
        keep=keep,
    )
    text = WRITERS[kind](record)
    write_text(target, text)
    typer.echo(record.answer.text)
    for note in record.notes:
        say(f"note: {note}")
    say(f"{target}: {len(text.encode()) / 1e6:.1f} MB, {len(record.tokens)} tokens")
    if keep is not None:
        say(f"{keep}: {len(record.kept)} tensors")


def _format_of(out: Path | None) -> Format:
    """The format that a file's name asks for.

    Raises:
        UserError: It asks for one that a report has not.
    """
    if out is None or not out.suffix:
        return Format.HTML
    try:
        return ENDINGS[out.suffix.lower()]
    except KeyError:
        raise UserError(
            f"--out ends in {out.suffix!r}, and a report is .html, .md or .json. Name the file so, "
            "or give --format."
        ) from None
