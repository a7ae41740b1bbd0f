"""Fill docs/cli.md with what the commands really print: ``python tools/cli_outputs.py``.

In blocks that are marked ``console``, every line that begins with ``$`` is a command; what follows
it is replaced by what the shipped model says on this machine. With ``--check`` nothing is written,
and the exit code is 1 if the page says anything else.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from typer.testing import CliRunner

import secondsight
from secondsight.cli.main import app
from secondsight.images import open_image

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
WIDTH = 100
_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
_LIST = """\
{"image": "scene.png"}
{"image": "more/2.png", "question": "Is there a dog in the image?", "id": "dog"}
{"image": "gone.png"}
"""
_SECONDS = re.compile(r" +\d+\.\d\d(?= │$)", re.MULTILINE)


def regenerate(text: str) -> str:
    """The page with the outputs of all its commands as they are now."""
    with _folder():
        return _BLOCK.sub(lambda block: _outputs(block[0]), text)


def without_seconds(text: str) -> str:
    """The page without what differs from run to run, for comparing."""
    return _SECONDS.sub(lambda found: "?".rjust(len(found[0])), text)


@contextlib.contextmanager
def _folder() -> Iterator[None]:
    """A folder with the files that the commands name, as the current one."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "more").mkdir()
        image = open_image(secondsight.demo_image())
        image.save(folder / "scene.png")
        image.transpose(0).save(folder / "more" / "2.png")
        (folder / "images.jsonl").write_text(_LIST)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _outputs(block: str) -> str:
    commands = [line for line in block.splitlines() if line.startswith("$ ")]
    return "\n".join(f"{command}\n{_output(command[2:])}" for command in commands)


def _output(line: str) -> str:
    """What one command line prints, standard error included."""
    command, _, rest = line.partition("|")
    name, *words = shlex.split(command, comments=True)
    if name == "cat":
        printed = "".join(Path(word).read_text() for word in words)
        printed = re.sub(r'"provenance": \{.*\}\}$', '"provenance": {...}}', printed, flags=re.M)
    elif name == "secondsight":
        result = CliRunner(env={"COLUMNS": str(WIDTH)}).invoke(app, words, prog_name=name)
        printed = result.output
    else:
        raise SystemExit(f"{PAGE.name}: {line!r} is neither secondsight nor cat.")
    lines = [one.rstrip() for one in printed.rstrip().splitlines()]
    if rest:
        head = re.fullmatch(r"\s*head -n? ?(\d+)\s*", rest)
        if not head:
            raise SystemExit(f"{PAGE.name}: only '| head -N' may follow a command: {line!r}")
        lines = lines[: int(head[1])]
    return "\n".join([*lines, ""])


def main() -> None:
    """Write the page, or compare it."""
    have = PAGE.read_text(encoding="utf-8")
    now = regenerate(have)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(now, encoding="utf-8")
    elif without_seconds(now) != without_seconds(have):
        raise SystemExit(f"{PAGE.name} shows other outputs than the commands have.")


if __name__ == "__main__":
    main()
