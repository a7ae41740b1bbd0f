"""Who imports whom: no circles, and layers of which each stands on those below alone."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"

FOUNDATION = 0
LAYERS = {
    "methods": 1,
    "objects": 1,
    "request": 2,
    "decoding": 2,
    "checking": 2,
    "inference": 3,
    "checkpoints": 3,
    "benchmarks": 4,
    "trace": 4,
    "profiling": 4,
    "integrations": 4,
    "bulk": 4,
    "server": 5,
    "cli": 6,
}
"""Packages from the bottom up, all on the foundation of modules beside them; those of one layer may
import each other, one way."""

LAZY = {("inference.model", "trace")}
"""Imports inside functions that go upwards: methods of the facade that only pass a request on."""


def module_name(path: Path) -> str:
    relative = path.relative_to(SOURCE).with_suffix("")
    names = relative.parts[:-1] if relative.name == "__init__" else relative.parts
    return ".".join(names)


MODULES = {module_name(path): path for path in sorted((SOURCE / "secondsight").rglob("*.py"))}


def imported(node: ast.AST, importer: str) -> set[str]:
    """The modules of ours that an import statement names."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & set(MODULES)
    assert isinstance(node, ast.ImportFrom)
    origin = node.module or ""
    if node.level:
        is_package = MODULES[importer].name == "__init__.py"
        parents = importer.split(".")[: None if is_package and node.level == 1 else -node.level]
        origin = ".".join([*parents, *filter(None, [node.module])])
    found = set()
    for alias in node.names:
        submodule = f"{origin}.{alias.name}"
        target = submodule if submodule in MODULES else origin
        if target in MODULES:
            found.add(target)
    return found


@cache
def imports(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """What a module imports as it is read or type-checked, and what inside its functions."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    top: set[str] = set()
    lazy: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            (lazy if id(node) in inside else top).update(imported(node, name))
    return frozenset(top), frozenset(lazy)


def short(name: str) -> str:
    return name.removeprefix("secondsight").removeprefix(".")


def layer(name: str) -> int | None:
    """The number of a module's layer, from below; None for the package itself and unknown ones."""
    first = short(name).partition(".")[0]
    alone = first and first != "__main__" and (SOURCE / "secondsight" / f"{first}.py").is_file()
    return LAYERS.get(first, FOUNDATION if alone else None)


def test_no_circles_whenever_something_is_imported() -> None:
    """As a module is read, type-checked, or inside a function."""
    graph = {name: frozenset.union(*imports(name)) - {name} for name in MODULES}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail("a circle: " + " <- ".join(map(short, error.args[1])))


def test_every_package_has_a_layer() -> None:
    without = {name for name in MODULES if layer(name) is None}
    assert without == {"secondsight", "secondsight.__main__"}


def test_layers_stand_on_those_below() -> None:
    upwards = [
        f"{short(name)} imports {short(other)}"
        for name in MODULES
        for other in imports(name)[0]
        if (own := layer(name)) is not None and (its := layer(other)) is not None and its > own
    ]
    assert upwards == []


def test_lazy_imports_go_downwards_too() -> None:
    upwards = {
        (short(name), short(other))
        for name in MODULES
        for other in imports(name)[1]
        if (own := layer(name)) is not None and (its := layer(other)) is not None and its > own
    }
    assert upwards <= LAZY


@pytest.mark.parametrize("guest", ["trace", "profiling", "cli"])
def test_nothing_stands_on_a_guest(guest: str) -> None:
    hosts = {
        short(name)
        for name in MODULES
        for other in imports(name)[0]
        if short(other).partition(".")[0] == guest
        and short(name).partition(".")[0] not in (guest, "cli")
    }
    assert hosts <= {"__main__"}


def test_decoding_knows_no_text_no_images_and_no_checkpoints() -> None:
    unknown = ("inference", "checkpoints", "cli", "images", "prompts", "request", "settings")
    others = {
        f"{short(name)} imports {short(other)}"
        for name in MODULES
        if short(name).startswith("decoding")
        for other in imports(name)[0] | imports(name)[1]
        if short(other).partition(".")[0] in unknown
    }
    assert others == set()
