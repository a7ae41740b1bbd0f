"""A benchmark of one's own: one file, and nothing else knows of it."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from secondsight.benchmarks import (
    YES_NO_METRICS,
    DataError,
    Item,
    Metric,
    Mme,
    Pope,
    Task,
    YesNoScorer,
    create,
    names,
    register,
    score,
)
from secondsight.benchmarks.registry import BENCHMARKS
from secondsight.benchmarks.report import schema
from secondsight.benchmarks.runner import evaluate
from secondsight.errors import UserError
from support.fake_model import FakeModel, answer

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_benchmark.py"


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example, registered for one test."""
    spec = importlib.util.spec_from_file_location("own_benchmark", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "own_benchmark", module)
    spec.loader.exec_module(module)
    yield module
    forget("counting")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two questions about each of three images."""
    lines = []
    for number in range(6):
        Image.new("RGB", (4, 4), (number // 2, 0, 0)).save(tmp_path / f"{number // 2}.png")
        lines.append(
            {"id": number, "image": f"{number // 2}.png", "thing": "dog", "count": number % 3}
        )
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def forget(name: str) -> None:
    BENCHMARKS._registered.pop(name, None)


class Counts(FakeModel):
    """Says that there are two."""

    def _answer(self, method, seed, sample):  # type: ignore[no-untyped-def]
        return answer("I see two dogs." if method != "greedy" else "No dogs.")


def test_it_runs_compares_and_reports(counting: Any, data: Path) -> None:
    assert "counting" in names()
    result = evaluate(
        f"counting:questions={data / 'q.jsonl'}",
        options={"images": data},
        model=Counts(),  # type: ignore[arg-type]
        methods=["vcd"],
        out=data / "out",
        resamples=99,
        progress=False,
    )
    scores = json.loads((data / "out" / "scores.json").read_text())
    assert scores["primary"] == "accuracy"
    assert scores["metrics"] == {
        "accuracy": {"title": "accuracy", "unit": "share", "better": "more"},
        "mean_error": {"title": "mean error", "unit": "points", "better": "less"},
    }
    assert set(schema()["required"]) <= set(scores)
    rows = {row.method: row.metrics for row in result.comparison.rows}
    assert rows["vcd"]["accuracy"].mean == pytest.approx(1 / 3)  # counts 0, 1, 2, 0, 1, 2
    assert rows["vcd"]["mean_error"].mean == pytest.approx((2 + 1 + 0) / 3)
    assert rows["greedy"]["mean_error"].mean == pytest.approx((0 + 1 + 2) / 3)
    report = (data / "out" / "report.html").read_text()
    assert "<h1>Counting: fake</h1>" in report
    assert report.count("<figure>") == 2
    assert "mean error" in (data / "out" / "report.md").read_text()


def test_it_scores_answers_of_others_and_its_own(counting: Any, data: Path) -> None:
    replies = data / "a.jsonl"
    replies.write_text("".join(f'{{"id": {n}, "text": "There is 1."}}\n' for n in range(6)))
    made = create("counting", {"questions": data / "q.jsonl"})
    found = score(made, replies).result.to_dict()
    assert found == {
        "accuracy": pytest.approx(1 / 3), "mean_error": pytest.approx(2 / 3), "n": 6,
    }  # fmt: skip
    with pytest.raises(UserError, match="the image of '0' is not at hand"):
        evaluate(made, model=Counts(), out=data / "out")  # type: ignore[arg-type]


def test_the_example_runs(counting: Any, capsys: pytest.CaptureFixture[str]) -> None:
    counting.main(scenes=2)
    assert "regular: accuracy" in capsys.readouterr().out


def test_what_is_no_benchmark_is_refused() -> None:
    with pytest.raises(UserError, match="is not a subclass"):
        register("test-none")(int)  # type: ignore[type-var]
    with pytest.raises(UserError, match="must be a frozen dataclass"):

        @register("test-bare")
        class Bare(Pope):
            pass

    with pytest.raises(UserError, match=r"'pope' is taken by secondsight\.benchmarks\.pope\.Pope"):
        register("pope")(Mme)


def test_a_task_must_hold_together() -> None:
    item = Item("1", "a", None, "?", {"label": "yes"})
    with pytest.raises(DataError, match="two items are called '1'"):
        Task("d", (item, item), YesNoScorer(), YES_NO_METRICS)
    for metrics in ((), (Metric("n", unit="count"),)):
        with pytest.raises(UserError, match="first metric"):
            Task("d", (item,), YesNoScorer(), metrics)
    with pytest.raises(UserError, match="two metrics are called"):
        Task("d", (item,), YesNoScorer(), (*YES_NO_METRICS, Metric("f1")))


def test_its_options_are_its_own(counting: Any) -> None:
    with pytest.raises(UserError, match="counting has no option 'parser'"):
        create("counting", {"parser": "strict"})
    with pytest.raises(UserError, match="counting: --questions is needed here"):
        score("counting", "a.jsonl")


def test_a_plugin_with_a_benchmark_alone_loads(data: Path) -> None:
    from typer.testing import CliRunner

    from secondsight.cli.main import app

    replies = data / "a.jsonl"
    replies.write_text("".join(f'{{"id": {n}, "text": "two"}}\n' for n in range(6)))
    args = ["score", f"counting:questions={data / 'q.jsonl'}", "--answers", str(replies), "--json"]
    try:
        refused = CliRunner().invoke(app, args)
        assert refused.exit_code == 2
        found = CliRunner().invoke(app, [*args, "--plugin", str(EXAMPLE)], catch_exceptions=False)
        assert json.loads(found.stdout)["accuracy"] == pytest.approx(1 / 3)
        listed = CliRunner().invoke(app, ["benchmarks", "--json"], catch_exceptions=False)
        assert "counting" in [one["name"] for one in json.loads(listed.stdout)]
    finally:
        forget("counting")
