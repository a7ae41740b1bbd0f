"""``secondsight describe``: answers about images, streamed, or a whole list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secondsight.cli import images as naming
from secondsight.cli import options
from secondsight.cli.loading import Loading, loads_a_model
from secondsight.cli.output import say
from secondsight.errors import ImageError, UserError
from secondsight.settings import Settings, as_stops

if TYPE_CHECKING:
    from secondsight.answer import Answer
    from secondsight.images import Images
    from secondsight.inference import Model
    from secondsight.methods import Method

_LIST = "A list of images"
USER_ERROR = 2


@loads_a_model()
def describe(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders, patterns such as 'a/*.jpg', URLs, or - for standard input, each "
            "image answered by itself; left out: the image that ships with secondsight.",
            metavar="IMAGE",
            show_default=False,
        ),
    ] = None,
    question: options.Question = options.DESCRIBE,
    together: Annotated[
        bool,
        typer.Option("--together", help="Ask once, about all the images together."),
    ] = False,
    no_image: naming.NoImage = False,
    method: options.MethodSpec = "regular",
    temperature: options.Temperature = 0.0,
    top_p: options.TopP = 1.0,
    top_k: options.TopK = None,
    beams: options.Beams = 1,
    max_new_tokens: options.MaxNewTokens = 512,
    seed: options.Seed = 0,
    stop: options.Stop = None,
    plugin: options.Plugin = None,
    doubts: Annotated[
        bool,
        typer.Option(
            "--doubts",
            help="Ask the model about what it has stated, and underline what it doubts; --json "
            "and --out list it.",
        ),
    ] = False,
    listed: Annotated[
        Path | None,
        typer.Option(
            "--list",
            help='JSON lines: {"image": path or URL, a list of them, or null, "question": '
            'optional, "id": optional}, or LLaVA\'s question files; - for standard input.',
            metavar="FILE",
            rich_help_panel=_LIST,
        ),
    ] = None,
    image_folder: Annotated[
        Path | None,
        typer.Option(
            help="Where the paths of --list start; left out: the list's own folder.",
            metavar="FOLDER",
            rich_help_panel=_LIST,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where each answer, of --list or of the images named, is appended as a line of "
            "JSON. Run the same command again to continue after an interruption, or to try "
            "failed images again.",
            metavar="FILE",
            rich_help_panel=_LIST,
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(help="Images answered together.", rich_help_panel=_LIST),
    ] = 8,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object per answer: text, timings, provenance."),
    ] = False,
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv", help="A table on standard output: image, question, id, text, why it ended."
        ),
    ] = False,
    *,
    loading: Loading,
) -> None:
    """Answer a question about images, written out as it is found.

    [bold]Examples[/bold]

      [cyan]secondsight describe[/cyan]
      [cyan]secondsight describe cat.jpg dog.jpg -q "What colour is it?"[/cyan]
      [cyan]secondsight describe before.jpg after.jpg --together -q "What changed?" -m NAME[/cyan]
      [cyan]secondsight describe cat.jpg -m llava-hf/llava-1.5-7b-hf --method ritual:alpha=3[/cyan]
      [cyan]secondsight describe cat.jpg --temperature 1 --seed 7 --json[/cyan]
      [cyan]secondsight describe cat.jpg --doubts[/cyan]
      [cyan]secondsight describe photos/ --out answers.jsonl --csv[/cyan]
      [cyan]secondsight describe --list images.jsonl --out answers.jsonl --method vcd[/cyan]

    Exit code 0: all answered. 1: some images of a list failed; they are in the file, with the
    reason. 2: something must be mended first. 130: interrupted.
    """
    settings = Settings(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        stop=as_stops(stop),
        seed=seed,
        num_beams=beams,
    )
    options.checked_question(question)
    if as_json and as_csv:
        raise UserError("Choose --json or --csv, not both.")
    if listed is None and image_folder is not None:
        raise UserError("--image-folder is for the paths of a --list.")
    if image_folder is not None and not image_folder.is_dir():
        raise UserError(f"--image-folder {str(image_folder)!r} is no folder.")
    if out is None:
        if listed is not None:
            raise UserError("--list needs --out, the file that gets the answers.")
        names = naming.named(images, no_image, folders=True)
        asks = [names] if together or no_image else [[name] for name in names]
        write = _writer(as_json, as_csv)
        _describe(asks, question, _method(method, plugin, doubts), settings, loading, write)
        return
    if listed is not None and (images or no_image or together):
        raise UserError("Name images either on the command line or in --list, not both.")
    if as_json:
        raise UserError("--json is for answers on standard output; --out always gets JSON lines.")
    if batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, not {batch_size}.")

    from secondsight.cli.answers import list_answers
    from secondsight.cli.list_lines import named_entries, read_list
    from secondsight.cli.listing import answer_list

    if listed is not None:
        entries = read_list(listed, question, image_folder)
    else:
        names = naming.named(images, no_image, folders=True)
        entries = named_entries(names, question, together=together)
    chosen = _method(method, plugin, doubts)
    with list_answers(out) as answers:
        loaded = loading.load()
        failed = answer_list(loaded, entries, answers, chosen, settings, batch_size)
        if as_csv:
            from secondsight.cli.tables import in_order

            in_order([entry.key for entry in entries], answers)
    if failed:
        raise typer.Exit(1)


def _writer(as_json: bool, as_csv: bool) -> Callable[[Mapping[str, Any]], None] | None:
    """What writes whole answers; None where they are streamed."""
    if not (as_json or as_csv):
        return None
    from secondsight.cli import tables

    return tables.as_json if as_json else tables.Csv()


def _method(spec: str, plugin: list[Path] | None, doubts: bool) -> Method:
    from secondsight.cli.plugins import load_plugins
    from secondsight.methods import create

    load_plugins(plugin or ())
    method = create(spec)
    if not doubts or method.checks() is not None:
        return method
    return create("check:repair=none" if spec == "regular" else f"check:repair=none+{spec}")


def _describe(
    asks: Sequence[Sequence[str]],
    question: str,
    method: Method,
    settings: Settings,
    loading: Loading,
    write: Callable[[Mapping[str, Any]], None] | None,
) -> None:
    """Answer about each image; one that cannot be used does not stop the others."""
    # A single one is opened now, so that a mistake shows before a large model is loaded.
    opened = naming.opened(asks[0]) if len(asks) == 1 else None
    model = loading.load()
    failed = False
    for place, names in enumerate(asks):
        if len(asks) > 1 and write is None:
            typer.echo(f"{'' if place == 0 else chr(10)}{names[0]}")
        asked = {"image": naming.as_field(names), "question": question}
        try:
            images = opened or naming.opened(names)
            if write is None and _only_reports(method):
                answer = model.answer(images, question, method, **asdict(settings))
                _underlined(answer)
            elif write is None:
                _stream(model, images, question, method, settings)
            else:
                answer = model.answer(images, question, method, **asdict(settings))
                write({**asked, **answer.to_dict()})
        except ImageError as error:
            if len(asks) == 1:
                raise
            failed = True
            say(f"Error: {error}")
    if failed:
        raise typer.Exit(USER_ERROR)


def _stream(
    model: Model, images: Images, question: str, method: Method, settings: Settings
) -> None:
    with model.stream(images, question, method, **asdict(settings)) as stream:
        try:
            for piece in stream:
                typer.echo(piece, nl=False)
        except KeyboardInterrupt:
            typer.echo()
            raise
    typer.echo()
    if stream.answer:
        _remarks(stream.answer)


def _only_reports(method: Method) -> bool:
    """Whether the answer's doubts are what is asked for."""
    checking = method.checks()
    return checking is not None and checking.repair == "none"


def _underlined(answer: Answer) -> None:
    """Write an answer with its doubtful words underlined, and say how doubtful they are."""
    from rich.text import Text

    from secondsight.cli.output import stdout
    from secondsight.methods.checks import DOUBTFUL

    doubtful = [one for one in answer.doubts or () if one.probability > DOUBTFUL]
    text = Text(answer.text)
    for one in doubtful:
        text.stylize("underline", one.start, one.end)
    stdout().print(text, soft_wrap=True)
    for one in doubtful:
        of = "" if one.kind == "object" else f" ({one.kind} of {one.object})"
        how = "likely" if one.calibrated else "by its own yes and no, not calibrated,"
        say(f"  {one.text}{of}: {one.probability:.0%} {how} made up")
    if not doubtful:
        say(f"  nothing doubtful in {len(answer.doubts or ())} statements")
    _remarks(answer)


def _remarks(answer: Answer) -> None:
    for one in answer.repairs:
        words = ", ".join(dict.fromkeys(doubt.text for doubt in one.doubts))
        say(f"({one.action}, for it said: {words})")
    if answer.finish_reason == "length":
        say("(cut off at the length limit; see --max-new-tokens)")
