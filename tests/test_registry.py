"""The registry of methods, benchmarks and families: lazy, typed, with entry points."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import secondsight
from secondsight import methods
from secondsight.errors import MethodError, UserError
from secondsight.methods.registry import METHODS
from secondsight.registry import Registry, shipped

SHIPPED = '''
"""Two of a kind."""
LOADED = True

def register(name):
    from packaged import REGISTRY
    return REGISTRY.register(name)

@register("{0}")
class {1}:
    pass

@register("{0}+")
class {1}Plus({1}):
    pass

def register_nothing():
    @register("inner")
    class Inner:
        pass
'''


def accept(name: str, thing: object) -> type:
    if not isinstance(thing, type):
        raise UserError(f"{name} is no class")
    return thing


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[type]]:
    """A package `packaged` of two modules, and a registry of what they register."""
    folder = tmp_path / "packaged"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "one.py").write_text(SHIPPED.format("first", "First"))
    (folder / "two.py").write_text(SHIPPED.format("second", "Second"))
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("thing", package="packaged", group="packaged.things", accept=accept)
    import packaged  # type: ignore[import-not-found]

    packaged.REGISTRY = registry
    yield registry
    Registry.all.remove(registry)
    for name in [name for name in sys.modules if name.split(".")[0] in ("packaged", "outside")]:
        del sys.modules[name]
    shipped.cache_clear()


Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package `outside` with entry points, as pip would leave it."""

    def run(points: str) -> None:
        site = tmp_path / "site"
        about = site / "outside-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(points)
        (site / "outside.py").write_text("class Third:\n    pass\n\nNUMBER = 3\n")
        (site / "outside_fails.py").write_text("1 / 0\n")
        monkeypatch.syspath_prepend(site)

    return run


def test_names_are_known_without_importing(package: Registry[type]) -> None:
    assert package.names() == ["first", "first+", "second", "second+"]
    assert "packaged.one" not in sys.modules
    assert package.get("first").__name__ == "First"
    assert "packaged.one" in sys.modules
    assert "packaged.two" not in sys.modules
    assert package.find("third") is None
    assert set(package.entries()[0]) == {"first", "first+", "second", "second+"}


def test_an_unknown_name_names_the_nearest(package: Registry[type]) -> None:
    with pytest.raises(UserError, match=r"No thing is called 'secnd'. Did you mean 'second'\?"):
        package.get("secnd")


@pytest.mark.parametrize("name", ["", "two words", "a:b", "a,b", "a;b", "a=b", "a\nb"])
def test_names_fit_on_a_command_line(package: Registry[type], name: str) -> None:
    with pytest.raises(UserError, match="cannot be called"):
        package.register(name)


def test_a_name_belongs_to_one(package: Registry[type]) -> None:
    def cell(number: int) -> type:
        class Own:
            value = number

        return Own

    package.register("own")(cell(1))
    package.register("own")(cell(2))  # a notebook's cell that runs again
    assert package.get("own").value == 2
    with pytest.raises(UserError, match=r"'own' is taken by .*cell"):
        package.register("own")(int)
    with pytest.raises(UserError, match=r"'first' is taken by packaged.one.First"):
        package.register("first")(int)  # before its module has been imported
    assert package.get("first").__name__ == "First"
    with pytest.raises(UserError, match="is no class"):
        package.register("number")(3)
    assert package.find("number") is None


def test_two_modules_of_one_name_are_named(package: Registry[type], tmp_path: Path) -> None:
    (tmp_path / "packaged/three.py").write_text(SHIPPED.format("first", "Third"))
    shipped.cache_clear()
    with pytest.raises(UserError, match=r"'first' is taken by packaged.one.First"):
        package.get("first")
    assert package.get("second").__name__ == "Second"


def test_entry_points(package: Registry[type], install: Install) -> None:
    install("[packaged.things]\nthird = outside:Third\nfourth = outside:Third\n")
    assert package.names() == ["first", "first+", "fourth", "second", "second+", "third"]
    assert "outside" not in sys.modules
    assert package.get("third").__name__ == "Third"
    assert package.get("third") is package.get("fourth")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("bad", "outside_fails:Third", "ZeroDivisionError"),
        ("bad", "outside_absent:Third", "No module named"),
        ("bad", "outside:Absent", "Absent"),
        ("bad", "outside:NUMBER", "is no class"),
        ("two words", "outside:Third", "no blanks"),
        ("first", "outside:Third", "taken by packaged.one.First"),
    ],
)
def test_a_broken_entry_point_is_named_and_breaks_nothing(
    package: Registry[type], install: Install, name: str, value: str, why: str
) -> None:
    install(f"[packaged.things]\n{name} = {value}\nthird = outside:Third\n")
    named = re.escape(f"The thing {name!r} of the package 'outside' ({value}) cannot be used: ")
    for _ in range(2):
        with pytest.raises(UserError, match=f"{named}.*{why}"):
            package.get(name)
    loaded, broken = package.entries()
    assert "third" in loaded
    assert set(broken) == {name}


def test_methods_by_entry_point(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("[secondsight.methods]\nbroken = outside_fails:Third\n")
    [point] = entry_points(group="secondsight.methods")
    monkeypatch.setitem(METHODS._points, "broken", [point])
    assert "broken" not in methods.names()
    with pytest.raises(MethodError, match="'broken' of the package 'outside'"):
        methods.create("broken:alpha=2")
    assert methods.create("vcd").name == "vcd"


def test_every_method_is_public_and_lazy() -> None:
    code = """
import sys, secondsight
assert {"VCD", "Ritual", "M3ID"} <= set(dir(secondsight))
assert "torch" not in sys.modules
from secondsight import VCD
from secondsight.methods import M3ID
assert "secondsight.methods.ritual" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in methods.names():
        shown = methods.get(name)
        if shown.__module__.startswith("secondsight."):
            assert getattr(secondsight, shown.__name__) is shown
            assert getattr(methods, shown.__name__) is shown
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = methods.Nonsense


def test_what_ships_is_what_registers() -> None:
    """The names read from sources are those that importing gives."""
    found = {(one.name, one.module, one.attribute) for one in shipped("secondsight.methods")}
    got = {
        (name, method.__module__, method.__qualname__)
        for name in methods.names()
        if (method := methods.get(name)).__module__.startswith("secondsight.")
    }
    assert found == got
