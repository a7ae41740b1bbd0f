"""The site builds without a warning, and its reference has every public name, each with words."""

from __future__ import annotations

import ast
import json
import sys
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest

import secondsight
from secondsight.registry import shipped
from support import markdown, process
from support.markdown import ROOT

griffe = pytest.importorskip("griffe", reason="the extra docs is not installed")

MODULES = {"secondsight.methods", "secondsight.presets"}
OF_VIEWS = {"name", "draws", "inside"}  # what they mean is said once: by View, draws and inside
COMMANDS = "secondsight.cli"  # its public surface is the command line: docs/cli.md


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site")
    code = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = process.run(code, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def sources() -> Any:
    return griffe.load(
        "secondsight",
        search_paths=[str(ROOT / "src")],
        extensions=griffe.load_extensions(str(ROOT / "tools" / "site_parameters.py")),
        docstring_parser="google",
    )


def packages() -> Iterator[str]:
    """The package, and every package in it that says what it exports."""
    yield "secondsight"
    for module in iter_modules(secondsight.__path__, "secondsight."):
        public = module.ispkg and module.name != COMMANDS
        if public and hasattr(import_module(module.name), "__all__"):
            yield module.name


def public_names() -> set[str]:
    """What is exported, what the methods' files register, what the documentation imports."""
    found = {f"{home}.{name}" for home in packages() for name in import_module(home).__all__}
    found |= {f"{one.module}.{one.attribute}" for one in shipped("secondsight.methods")}
    texts = [one.text for one in markdown.blocks() if one.kind.startswith("python")]
    texts += [path.read_text("utf-8") for path in (ROOT / "examples").glob("*.py")]
    for path in (ROOT / "docs" / "tutorials").glob("*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        texts += ["".join(one["source"]) for one in cells if one["cell_type"] == "code"]
    for text in texts:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("secondsight"):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found - {"secondsight.__version__"}


def test_there_are_public_names_to_look_for() -> None:
    names = public_names()
    assert {"secondsight.load", "secondsight.methods.vcd.VCD", "secondsight.views.Noised"} <= names
    assert {"secondsight.benchmarks.score", "secondsight.bulk.caption"} <= names


def test_every_public_name_is_in_the_reference(site: Path, sources: Any) -> None:
    """By the inventory that the build writes for other projects' links."""
    head = b"# The remainder of this file is compressed using zlib.\n"
    packed = (site / "objects.inv").read_bytes().partition(head)[2]
    lines = zlib.decompress(packed).decode().splitlines()
    listed = {line.split()[0] for line in lines}
    missing = [
        name for name in sorted(public_names()) if not {name, canonical(sources, name)} & listed
    ]
    assert not missing, "\n".join(missing)


def canonical(sources: Any, name: str) -> str:
    """Where a name is defined; in a package it may be called like the module that it is from."""
    thing = sources[name.removeprefix("secondsight.")]
    if thing.is_module and name not in MODULES:
        thing = thing[name.rpartition(".")[2]]
    return str(thing.canonical_path)


def test_every_public_name_has_words(sources: Any) -> None:
    bare = [
        path
        for name in sorted(public_names())
        for path in undocumented(sources, canonical(sources, name))
    ]
    assert not bare, "\n".join(bare)


def undocumented(sources: Any, name: str) -> Iterator[str]:
    """A name, and the public members of a class, that nobody has said anything about."""
    thing = sources[name.removeprefix("secondsight.")]
    if not thing.has_docstring:
        yield name
    if not thing.is_class:
        return
    told = OF_VIEWS if thing.module.path == "secondsight.views" else set()
    told |= {attribute for one in [thing, *thing.mro()] for attribute in attributes(one)}
    for member in thing.members.values():
        inherited = any(member.name in base.members for base in thing.mro())
        if (
            member.is_public
            and not member.is_special
            and not (member.has_docstring or inherited or member.name in told)
        ):
            yield member.path


def attributes(thing: Any) -> Iterator[str]:
    """What the sections `Attributes` and `Args` of a class's docstring are about."""
    for section in thing.docstring.parsed if thing.has_docstring else ():
        if section.kind.value in ("attributes", "parameters"):
            yield from (one.name for one in section.value)


def test_links_lead_to_pages_of_the_site(site: Path) -> None:
    """Also those of the README and of files outside docs/, which the hook of the site moves."""
    home = (site / "index.html").read_text("utf-8")
    for link in ("methods/", "repository/CONTRIBUTING/", "repository/tests/golden/"):
        assert f'href="{link}"' in home
        assert (site / link / "index.html").is_file()
    assert 'src="compare.svg"' in home
    assert (site / "compare.svg").is_file()
