"""What the site shows of the repository outside docs/: a hook of mkdocs (see mkdocs.yml).

README.md is the first page. Whatever else the pages link to (the changelog, the contributing guide,
an example's source, the recordings' README) is a page too, below `repository/`, and links lead
there. On the page of the methods' reference, every class that a method's file registers is listed.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from secondsight.registry import shipped

ROOT = Path(__file__).resolve().parent.parent
HOME = "README.md"
OUTSIDE = "repository/"

_METHODS = "<!-- methods -->"

_FENCE = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the first page, and a page for every file outside docs/ that a page links to."""
    waiting = [
        HOME,
        "CHANGELOG.md",
        *(f"docs/{page.src_uri}" for page in files.documentation_pages()),
    ]
    seen = set(waiting)
    while waiting:
        source = waiting.pop()
        if not source.startswith("docs/"):
            files.append(File.generated(config, _page(source), content=_content(source)))
        if source.endswith(".md"):
            found = [one for one in _targets(source) if one not in seen]
            seen.update(found)
            waiting += [one for one in found if not one.startswith("docs/")]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links between files of the repository lead between pages of the site."""
    source = _source(page.file.src_uri)
    if source is None:
        return markdown
    if _METHODS in markdown:
        classes = (f"::: {one.module}.{one.attribute}\n" for one in shipped("secondsight.methods"))
        markdown = markdown.replace(_METHODS, "\n".join(classes))

    def lead(target: str) -> str:
        path = _resolve(source, target)
        if path is None:
            return target
        return posixpath.relpath(_page(path), posixpath.dirname(page.file.src_uri) or ".")

    return _links(markdown, lead)


def _page(source: str) -> str:
    """Where a file of the repository is on the site."""
    if source == HOME:
        return "index.md"
    if source.startswith("docs/"):
        return source.removeprefix("docs/")
    return OUTSIDE + (source if source.endswith(".md") else source + ".md")


def _source(page: str) -> str | None:
    """The Markdown file of the repository that a page is of; None if it has no links to change."""
    if page == "index.md":
        return HOME
    if page.startswith(OUTSIDE):
        source = page.removeprefix(OUTSIDE)
        return source if (ROOT / source).is_file() else None
    return f"docs/{page}" if page.endswith(".md") else None


def _content(source: str) -> str:
    text = (ROOT / source).read_text(encoding="utf-8")
    if source.endswith(".md"):
        return text
    kind = Path(source).suffix.removeprefix(".")
    return f"# {Path(source).name}\n\n`{source}`\n\n````{kind}\n{text}````\n"


def _resolve(source: str, target: str) -> str | None:
    """What a link in a file leads to, from the repository's root; None if that is elsewhere."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    return path if "://" not in target and (ROOT / path).is_file() else None


def _targets(source: str) -> Iterator[str]:
    found: list[str] = []
    _links(
        (ROOT / source).read_text(encoding="utf-8"), lambda target: found.append(target) or target
    )
    yield from filter(None, (_resolve(source, target) for target in found))


def _links(text: str, lead: Callable[[str], str]) -> str:
    """The text with every link outside code changed."""
    parts = _FENCE.split(text)
    for place in range(0, len(parts), 2):
        parts[place] = _LINK.sub(lambda link: link[1] + lead(link[2]) + link[3], parts[place])
    return "".join(parts)
