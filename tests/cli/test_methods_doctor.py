"""``secondsight methods``, ``secondsight doctor``, and users' own methods."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from secondsight import methods
from secondsight.checkpoints.families import FAMILIES
from secondsight.methods.registry import METHODS

MINE = '''
from dataclasses import dataclass

import secondsight
from secondsight.methods import parameter


@secondsight.register("mine")
@dataclass(frozen=True)
class Mine(secondsight.Method):
    """Half of the logits."""

    alpha: float = parameter(0.5, "what the logits are multiplied with")

    def combine(self, logits, step):
        return logits[0] * self.alpha
'''


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    """A user's own method in a file; forgotten again afterwards."""
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    yield path
    METHODS._registered.pop("mine", None)


def test_methods_are_all_listed(run) -> None:
    found = json.loads(run("methods", "--json").out)
    assert [one["name"] for one in found] == methods.names()
    assert [one["name"] for one in found if one["control"]] == methods.controls()
    ritual = next(one for one in found if one["name"] == "ritual")
    assert ritual["source"] == "arXiv 2405.17821"
    assert [one["name"] for one in ritual["parameters"]] == ["alpha", "transform", "beta"]
    assert ritual["parameters"][0]["default"] == 3
    assert all(
        one["summary"] and all(parameter["help"] for parameter in one["parameters"])
        for one in found
    )


def test_the_table_of_methods_has_every_name_and_parameter(run) -> None:
    table = run("methods").out
    for name in methods.names():
        assert f" {name} " in table
        for parameter in methods.create(name).parameters:
            assert f" {parameter}=" in table


def test_own_methods_on_the_command_line(run, mine, tiny_llava, pictures, monkeypatch) -> None:
    found = json.loads(run("methods", "--plugin", mine, "--json").out)
    assert next(one for one in found if one["name"] == "mine")["parameters"][0]["name"] == "alpha"
    [path] = pictures(1)
    short = ("-m", tiny_llava, "--max-new-tokens", 4, "--json")
    record = run("describe", path, "--plugin", mine, "--method", "mine:alpha=2", *short)
    assert json.loads(record.out)["provenance"]["method"]["alpha"] == 2
    record = run("compare", path, "--plugin", mine, "--methods", "mine", "--no-controls", *short)
    assert [one["method"] for one in json.loads(record.out)["answers"]] == ["regular", "mine"]


def test_own_methods_by_the_environment(run, mine, monkeypatch) -> None:
    assert "mine" not in run("methods").out
    monkeypatch.setenv("SECONDSIGHT_PLUGINS", os.pathsep.join(("", str(mine))))
    assert "mine" in run("methods").out


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "There is no plugin file"),
        ("x = (", "SyntaxError"),
        ("\n1 / 0\n", "in line 2: ZeroDivisionError"),
        ("from secondsight.methods.vcd import VCD\n", "registers nothing"),
        ("x = 1\n", "registers nothing"),
        (MINE.replace('"mine"', '"ritual"'), "is taken by"),
    ],
)
def test_a_bad_plugin_is_named(run, tmp_path: Path, content: str | None, named: str) -> None:
    path = tmp_path / "bad.py"
    if content is not None:
        path.write_text(content)
    result = run("methods", "--plugin", path)
    assert result.code == 2
    assert named in result.err
    assert str(path) in result.err


def test_a_plugin_must_be_python(run, tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(MINE)
    result = run("methods", "--plugin", path)
    assert result.code == 2
    assert "must end in .py" in result.err


def test_a_plugin_may_register_a_family_alone(run, tmp_path: Path) -> None:
    path = tmp_path / "family.py"
    path.write_text(
        "from secondsight.checkpoints.chat import ChatEncoder\n"
        "from secondsight.checkpoints.families import register\n\n"
        "@register('my_llava')\nclass Mine(ChatEncoder):\n    single_turn = True\n"
    )
    try:
        assert run("methods", "--plugin", path).code == 0
        assert FAMILIES.get("my_llava").single_turn
    finally:
        FAMILIES._registered.pop("my_llava", None)


def test_doctor_says_what_is_there(run) -> None:
    result = run("doctor", "--json")
    assert result.code == 0
    report = json.loads(result.out)
    assert report["versions"]["torch"]
    assert report["devices"][0]["name"] == "cpu"
    assert report["devices"][0]["memory"] > report["devices"][0]["free"] > 0
    small = next(one for one in report["would_run"] if one["dtype"] == "bfloat16")
    assert small["needs"] == pytest.approx(16.1e9, rel=0.01)
    free = report["devices"][0]["free"]
    assert ("cpu" in small["on"]) == (free >= small["needs"])


def test_doctor_survives_without_a_bundled_model(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from secondsight.checkpoints import loading

    monkeypatch.setattr(loading, "bundled_folder", lambda: tmp_path)
    result = run("doctor")
    assert result.code == 0
    assert "does not load" in result.out
