"""The fenced blocks of the documentation, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")))


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its line there, what follows the fence, and its text."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*pages: str) -> list[Block]:
    """The blocks of these pages, or of all."""
    found = []
    for page in pages or PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        for match in re.finditer(r"^```([^\n]*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1].strip(), match[2]))
    return found


@dataclass(frozen=True)
class Command:
    """One command line of a block, split as a shell would."""

    block: Block
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.block.page} {shlex.join(self.words)}"

    @property
    def downloads(self) -> bool:
        """Whether it names something that is not on this machine."""
        following = dict(zip(self.words, self.words[1:], strict=False))
        names = [following.get(option) for option in ("-m", "--model", "--model-base")]
        return any(name and not name.startswith(".") for name in names) or any(
            "://" in word for word in self.words
        )


def commands(*pages: str) -> Iterator[Command]:
    """Every call of ``secondsight`` in blocks that are no Python, up to a pipe or redirection."""
    for block in blocks(*pages):
        if block.kind.startswith("python"):
            continue
        lines = block.text.replace("\\\n", " ").splitlines()
        prompt = "$ " if any(line.startswith("$ ") for line in lines) else ""
        for line in lines:  # where some lines have a prompt, the others are output
            line, shown = line.removeprefix(prompt), line.startswith(prompt)
            if not shown or not line.startswith("secondsight "):
                continue
            words = shlex.split(line, comments=True)
            ends = [place for place, word in enumerate(words) if word in ("|", ">", "2>", "&")]
            kept = words[: ends[0]] if ends else words
            yield Command(block, tuple(kept))
