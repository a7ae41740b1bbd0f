"""``secondsight compare``: all methods and the controls side by side on one image."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from secondsight.cli import images as naming
from secondsight.cli import options
from secondsight.cli.loading import Loading, loads_a_model
from secondsight.cli.output import say, stderr, stdout
from secondsight.errors import UserError
from secondsight.settings import Settings, as_stops

if TYPE_CHECKING:
    from secondsight.answer import Answer
    from secondsight.methods import Method

REGULAR = "regular"
MARK = "bold yellow"


@dataclass(frozen=True)
class Row:
    """One method's answer beside regular decoding's."""

    method: Method
    answer: Answer
    words: tuple[tuple[str, bool], ...]
    """The answer's words, blanks included, and whether each differs from regular's."""

    @property
    def seconds(self) -> float:
        """From the image to the last token."""
        return self.answer.timings["encode"] + self.answer.timings["generate"]

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        return {
            "method": self.method.spec,
            "control": self.method.control,
            "seconds": self.seconds,
            "tokens": len(self.answer.ids),
            "same_as_regular": not any(differs for _, differs in self.words),
            "words_that_differ": [word for word, differs in self.words if differs and word.strip()],
            **self.answer.to_dict(),
        }


@loads_a_model()
def compare(
    images: naming.Together = None,
    question: options.Question = options.DESCRIBE,
    no_image: naming.NoImage = False,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Methods by comma, such as ritual,vcd:alpha=2; left out: all that the model can "
            "do. Regular decoding always comes first.",
            show_default=False,
            rich_help_panel="Decoding",
        ),
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(
            help="Add the controls: what a method must beat before its gain means anything.",
            rich_help_panel="Decoding",
        ),
    ] = True,
    temperature: options.Temperature = 0.0,
    top_p: options.TopP = 1.0,
    top_k: options.TopK = None,
    beams: options.Beams = 1,
    max_new_tokens: options.MaxNewTokens = 512,
    seed: options.Seed = 0,
    stop: options.Stop = None,
    plugin: options.Plugin = None,
    as_json: options.AsJson = False,
    *,
    loading: Loading,
) -> None:
    """All methods and the controls side by side, with the words that differ from regular marked.

    [bold]Examples[/bold]

      [cyan]secondsight compare[/cyan]
      [cyan]secondsight compare cat.jpg -q "Is there a dog?" --temperature 1[/cyan]
      [cyan]secondsight compare cat.jpg --methods ritual,ritual:transform=hflip --no-controls[/cyan]
      [cyan]secondsight compare cat.jpg --plugin mine.py --methods mine:alpha=2[/cyan]

    A gain that a control shows as well is not the method's: sharpening or cutting off unlikely
    tokens did it. Without temperature, most controls equal regular decoding, as they must.
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
    from secondsight.cli.plugins import load_plugins

    load_plugins(plugin or ())
    chosen = chosen_methods(methods, controls)
    names = naming.named(images, no_image)
    opened = naming.opened(names)
    loaded = loading.load()
    loaded.answer(opened, question, max_new_tokens=1)  # else the first method pays for warming up
    rows: list[Row] = []
    with stderr().status("") as status:
        for method in chosen:
            status.update(f"{method.spec} ({len(rows) + 1} of {len(chosen)}) ...")
            try:
                answer = loaded.answer(opened, question, method, **asdict(settings))
            except UserError as error:
                if methods is not None or not rows:
                    raise
                say(f"{method.spec} is left out. {error}")
                continue
            rows.append(Row(method, answer, marked(rows[0].answer if rows else answer, answer)))
    if as_json:
        record = {
            "image": naming.as_field(names),
            "question": question,
            "answers": [row.to_dict() for row in rows],
        }
        typer.echo(json.dumps(record, ensure_ascii=False))
        return
    console = stdout()
    console.print(_table(rows, console), highlight=False)
    looked_at = ", ".join(images or ["no image" if no_image else "the shipped image"])
    console.print(Text(f"{looked_at}: {question}", style="dim"), soft_wrap=True)


def chosen_methods(text: str | None, controls: bool) -> list[Method]:
    """The methods asked for, each once: regular first, controls last.

    Args:
        text: Methods by comma; a comma before ``name=`` continues a method's parameters.
        controls: Whether all controls come along.
    """
    from secondsight import methods

    known = [
        name
        for name in methods.names()
        if (controls or name not in methods.controls()) and not methods.get(name).helper
    ]
    specs = known if text is None else [REGULAR, *methods.split(text)]
    if controls and text is not None:
        specs += methods.controls_of(specs)
    made = {method.spec: method for method in map(methods.create, specs)}
    return sorted(made.values(), key=lambda method: method.control)


def marked(regular: Answer, answer: Answer) -> tuple[tuple[str, bool], ...]:
    """The pieces of an answer, words and blanks, and whether each differs from regular's."""
    before, after = _words(regular.text), _words(answer.text)
    matcher = SequenceMatcher(None, before[::2], after[::2], autojunk=False)
    differs = [True] * len(after[::2])
    for block in matcher.get_matching_blocks():
        differs[block.b : block.b + block.size] = [False] * block.size
    return tuple(
        # A blank is marked where the words on both its sides are, so that a run reads as one.
        (piece, all(differs[place // 2 : place // 2 + 1 + place % 2]))
        for place, piece in enumerate(after)
        if piece
    )


def _words(text: str) -> list[str]:
    """Words at even places, the blanks between them at odd ones."""
    return re.split(r"(\s+)", text)


def _table(rows: Sequence[Row], console: Console) -> Table:
    table = Table(show_lines=True, expand=console.is_terminal)
    table.add_column("method", no_wrap=True)
    table.add_column("answer", ratio=1, overflow="fold")
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    coloured = console.is_terminal and not console.no_color
    for row in rows:
        words = [(_printable(word), differs) for word, differs in row.words]
        label = Text(row.method.spec, style="bold" if not row.method.control else "")
        if row.method.control:
            label.append("\ncontrol", style="dim")
        table.add_row(
            label,
            _styled(words) if coloured else Text(_starred(words)),
            str(len(row.answer.ids)),
            f"{row.seconds:.2f}",
        )
    return table


def _styled(words: Sequence[tuple[str, bool]]) -> Text:
    return Text.assemble(*((word, MARK) if differs else word for word, differs in words))


def _starred(words: Sequence[tuple[str, bool]]) -> str:
    """Where there is no colour, a run of words that differ stands between stars."""
    runs = groupby(words, key=lambda word: word[1])
    texts = (("".join(word for word, _ in run), differs) for differs, run in runs)
    return "".join(f"*{text}*" if differs else text for text, differs in texts)


def _printable(text: str) -> str:
    """Without control characters, which an untrained model writes and which break a table."""
    return "".join(one if one.isprintable() or one == "\n" else " " for one in text)
