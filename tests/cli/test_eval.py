"""``secondsight eval`` and ``secondsight pope-questions`` on the command line."""

import json
import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from secondsight.answer import Answer
from secondsight.benchmarks import DataError
from secondsight.benchmarks.distributed import Distributed
from secondsight.bulk.workers import Workers
from secondsight.cli.eval import evaluate
from secondsight.cli.pope_questions import pope_questions
from secondsight.errors import UserError
from secondsight.methods import split
from secondsight.presets import PRESETS, Preset

app = typer.Typer()
app.command("eval")(evaluate)
app.command("pope-questions")(pope_questions)


@dataclass
class Yes:
    """A model that says yes."""

    name: str = "yes"
    revision: str | None = None
    identity: str = "sha256:yes"
    preset: Preset = PRESETS["llava-official"]
    hf_model: torch.nn.Module = field(default_factory=lambda: torch.nn.Linear(1, 1))

    def outcomes(self, requests: list[Any], **settings: Any) -> list[tuple[int, Answer]]:
        return [(number, Answer("Yes.", (1,), "eos", {}, {})) for number in range(len(requests))]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Yes()
    monkeypatch.setattr("secondsight.checkpoints.load", lambda **asked: loaded)


def test_eval_prints_a_table_or_json_and_continues(model: None, tmp_path: Path) -> None:
    args = ["eval", "pope", "--dataset", "stickers", "--limit", "3", "--out", str(tmp_path / "o"),
            "--methods", "regular,vcd:alpha=2"]  # fmt: skip
    result = CliRunner().invoke(app, args, catch_exceptions=False, env={"COLUMNS": "250"})
    assert result.exit_code == 0
    assert "vcd:alpha=2" in result.stdout
    assert "(control)" in result.stdout
    again = CliRunner().invoke(app, [*args, "--json"], catch_exceptions=False)
    scores = json.loads(again.stdout)
    assert scores == json.loads((tmp_path / "o" / "scores.json").read_text())
    assert scores["rows"][0]["metrics"]["yes_ratio"]["mean"] == 1.0
    other = CliRunner().invoke(app, [*args, "--temperature", "0"])
    assert isinstance(other.exception, UserError)
    more = CliRunner().invoke(app, [*args, "--seeds", "0,1", "--json"], catch_exceptions=False)
    assert json.loads(more.stdout)["seeds"] == [0, 1]


def test_the_table_fits_a_terminal_of_80_characters(model: None, tmp_path: Path) -> None:
    args = ["eval", "mme", "--dataset", "stickers", "--limit", "2", "--out", str(tmp_path / "o"),
            "--methods", "m3id:variant=paper"]  # fmt: skip
    result = CliRunner().invoke(app, args, catch_exceptions=False, env={"COLUMNS": "80"})
    table = result.stdout.partition("report:")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert any(line.rstrip().endswith("distinguishable") for line in table)
    assert any("m3id:varia" in line for line in table)


def test_captions_are_held_against_shorter_ones(model: None, tmp_path: Path) -> None:
    args = ["eval", "chair", "--dataset", "stickers", "--limit", "3", "--out", str(tmp_path / "o"),
            "--methods", "vcd,m3id:gate=0.3", "--equal-length", "m3id:gate=0.3"]  # fmt: skip
    result = CliRunner().invoke(app, args, catch_exceptions=False, env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert max(map(len, result.stdout.partition("report:")[0].splitlines())) <= 80
    assert "Better, or only shorter? CHAIRi against captions cut short" in result.stdout
    scores = json.loads((tmp_path / "o" / "scores.json").read_text())
    assert scores["rows"][-1]["method"] == "regular cut to m3id:variant=paper,gate=0.3"
    assert len(scores["lengths"]["rows"]) == len(scores["rows"]) - 1
    assert "a control of that method alone" in (tmp_path / "o" / "report.md").read_text()


@pytest.mark.parametrize(
    ("benchmark", "method", "message"),
    [
        ("chair", "ritual", r"ritual is not among the methods that are compared \(vcd\)"),
        ("chair", "greedy", "greedy is not among"),
        ("pope", "vcd", "asks for no captions"),
    ],
)
def test_what_cannot_be_cut_is_refused_before_anything_is_asked(
    benchmark: str, method: str, message: str
) -> None:
    args = ["eval", benchmark, "--dataset", "stickers", "--methods", "vcd"]
    result = CliRunner().invoke(app, [*args, "--equal-length", method])
    assert isinstance(result.exception, UserError)
    assert re.search(message, str(result.exception))


def test_limit_is_the_number_of_images(model: None, tmp_path: Path) -> None:
    args = ["eval", "pope", "--dataset", "stickers", "--limit", "8", "--methods", "regular",
            "--no-controls", "--json", "--out", str(tmp_path / "o")]  # fmt: skip
    found = json.loads(CliRunner().invoke(app, args, catch_exceptions=False).stdout)
    assert (found["images"], found["items"]) == (8, 48)


@pytest.mark.parametrize("benchmark", ["chair", "mme"])
def test_every_benchmark_of_stickers_runs(model: None, tmp_path: Path, benchmark: str) -> None:
    args = ["eval", benchmark, "--dataset", "stickers", "--limit", "2", "--methods", "regular",
            "--no-controls", "--json", "--out", str(tmp_path / "o")]  # fmt: skip
    result = CliRunner().invoke(app, args, catch_exceptions=False)
    assert json.loads(result.stdout)["images"] == 2


def test_without_a_folder_the_run_finds_its_own_again(
    model: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    args = ["eval", "pope", "--dataset", "stickers", "--limit", "1", "--methods", "regular"]
    for extra in ([], [], ["--seeds", "1"], ["--temperature", "0.5"]):
        assert CliRunner().invoke(app, [*args, *extra]).exit_code == 0
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(folders) == 2
    assert all(name.startswith("pope-stickers-test-") for name in folders)


def test_workers_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, Any] = {}

    def run(made: Any, **settings: Any) -> None:
        given.update(settings)
        raise UserError("enough")

    monkeypatch.setattr("secondsight.benchmarks.runner.evaluate", run)
    args = ["eval", "pope", "--dataset", "stickers", "--out", str(tmp_path / "o"), "-m", "some"]
    CliRunner().invoke(app, args)
    assert not isinstance(given["model"], Distributed)
    CliRunner().invoke(app, [*args, "--workers", "3"])
    assert (given["model"].workers, given["model"].carry) == (3, Workers)
    CliRunner().invoke(app, [*args, "--ray", "auto", "--num-gpus", "1"])
    assert given["model"].workers == 1
    assert given["model"].carry.keywords == {"address": "auto", "num_gpus": 1.0, "num_cpus": 1.0}
    assert pickle.loads(pickle.dumps(given["model"].load)).args[0].model == "some"
    for extra, message in ((["--workers", "0"], "at least 1"), (["--num-gpus", "1"], "for --ray")):
        assert message in str(CliRunner().invoke(app, [*args, *extra]).exception)


def test_eval_without_any_data_says_what_is_needed(model: None, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["eval", "pope", "--out", str(tmp_path / "o")])
    assert isinstance(result.exception, UserError)
    assert "--dataset stickers" in str(result.exception)
    other = CliRunner().invoke(app, ["eval", "mme", "--instances", "i.json"])
    assert "mme has no option 'instances'" in str(other.exception)


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("regular,ritual", ["regular", "ritual"]),
        ("ritual:alpha=2,transform=hflip,vcd", ["ritual:alpha=2,transform=hflip", "vcd"]),
        ("vcd:alpha=2,m3id:decay=0.1", ["vcd:alpha=2", "m3id:decay=0.1"]),
        (" regular ; vcd ", ["regular", "vcd"]),
    ],
)
def test_methods_with_parameters_are_told_apart(text: str, specs: list[str]) -> None:
    assert split(text) == specs


def test_pope_questions_are_deterministic_and_score_themselves(tmp_path: Path) -> None:
    names = ["dog", "cat", "car", "bus"]
    instances = tmp_path / "instances.json"
    instances.write_text(
        json.dumps(
            {
                "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(3)],
                "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
                "annotations": [
                    {"image_id": i, "category_id": c} for i in range(3) for c in (i, i + 1)
                ],
            }
        )
    )
    args = ["pope-questions", "--instances", str(instances), "--per-image", "1", "--strategy",
            "popular"]  # fmt: skip
    first = CliRunner().invoke(app, args, catch_exceptions=False)
    out = tmp_path / "q.jsonl"
    CliRunner().invoke(app, [*args, "--out", str(out)], catch_exceptions=False)
    assert out.read_text() == first.stdout
    labels = [json.loads(line)["label"] for line in first.stdout.splitlines()]
    assert labels.count("yes") == labels.count("no") == 3


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        (["--strategy", "populr"], UserError),
        (["--per-image", "0"], UserError),
        (["--per-image", "9"], DataError),
        (["--instances", "/absent"], DataError),
    ],
)
def test_pope_questions_bad_input(tmp_path: Path, extra: list[str], error: type) -> None:
    instances = tmp_path / "i.json"
    instances.write_text('{"images": [], "categories": [], "annotations": []}')
    result = CliRunner().invoke(app, ["pope-questions", "--instances", str(instances), *extra])
    assert isinstance(result.exception, error)
