"""Runs: complete, resumable, refused when they do not fit, and with reports that open offline."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from filelock import FileLock
from PIL import Image

from secondsight.benchmarks import DataError, Source, report
from secondsight.benchmarks.report import schema
from secondsight.benchmarks.run import RunMismatchError
from secondsight.benchmarks.runner import Evaluation, evaluate
from secondsight.errors import UserError
from secondsight.presets import PRESETS, Preset
from secondsight.sample import Sample


@dataclass(frozen=True)
class FakeAnswer:
    text: str
    ids: tuple[int, ...]
    finish_reason: str = "eos"


class Killed(BaseException):
    """What a test raises in place of kill -9."""


@dataclass
class FakeModel:
    """Says yes or no (or a caption) by a hash of method, seed and sample id.

    `right` gives per method name the share of answers that are right, where `labels` knows the
    sample; `budget` is the number of batches until it is killed.
    """

    labels: dict[str, str] = field(default_factory=dict)
    right: dict[str, float] = field(default_factory=dict)
    budget: int | None = None
    name: str = "fake"
    preset: Preset = PRESETS["llava-official"]
    prefixes: dict[str, str] = field(default_factory=dict)
    revision: str | None = None
    hf_model: torch.nn.Module = field(default_factory=lambda: torch.nn.Linear(2, 1, bias=False))
    calls: list[tuple[str, int, list[str]]] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.nn.init.ones_(self.hf_model.weight)

    def answer_batch(
        self, samples: Sequence[Sample], method: str = "regular", seed: int = 0, **settings: Any
    ) -> list[FakeAnswer]:
        if self.budget is not None and len(self.calls) >= self.budget:
            raise Killed
        self.calls.append((method, seed, [str(sample.id) for sample in samples]))
        self.questions += [sample.question for sample in samples]
        return [self._answer(method, seed, str(sample.id)) for sample in samples]

    def _answer(self, method: str, seed: int, identifier: str) -> FakeAnswer:
        digest = hashlib.sha256(f"{method}/{seed}/{identifier}".encode()).digest()
        label = self.labels.get(identifier, "yes")
        right = digest[0] / 256 < self.right.get(method.partition(":")[0], 0.5)
        other = {"yes": "no", "no": "yes"}[label]
        return FakeAnswer(f"{label if right else other}, \u00fcber\u2028all", (1, 2, digest[1]))


CONTROLS = {"greedy", "apc", "sharpened", "identity"}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Twelve POPE questions about four pictures."""
    folder = tmp_path / "images"
    folder.mkdir()
    lines = []
    for number in range(12):
        image = f"{number // 3}.png"
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / image)
        label = "no" if number % 2 else "yes"
        lines.append(
            {"question_id": number, "image": image, "text": f"Is it {number}?", "label": label}
        )
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Source(questions=path, images=folder)


@pytest.fixture(autouse=True)
def no_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take longer than all the rest; only the report's own test draws them."""
    if "offline" not in request.node.name:
        monkeypatch.setattr(report, "plots", lambda comparison: [])


def fake(**settings: object) -> FakeModel:
    labels = {str(number): "no" if number % 2 else "yes" for number in range(12)}
    return FakeModel(labels=labels, **settings)  # type: ignore[arg-type]


def run(model: FakeModel, source: Source, out: Path, **settings: object) -> Evaluation:
    given = {
        "methods": ["regular", "ritual:alpha=2"],
        "seeds": [0, 1],
        "batch_size": 1,  # four are answered in one go
        "progress": False,
        "resamples": 199,
        **settings,
    }
    model.preset = PRESETS.get(str(given.get("preset")), model.preset)
    return evaluate("pope", model=model, source=source, out=out, **given)  # type: ignore[arg-type]


def lines(out: Path) -> list[str]:
    return sorted((out / "answers.jsonl").read_text("utf-8").split("\n")[:-1])


def test_a_run_holds_everything(source: Source, tmp_path: Path) -> None:
    model = fake(right={"ritual": 0.9})
    result = run(model, source, tmp_path / "out")
    methods = [row.method for row in result.comparison.rows]
    assert methods[:2] == ["regular", "ritual:alpha=2"]
    assert set(methods[2:]) == CONTROLS
    assert all(row.control for row in result.comparison.rows[2:])
    assert len(lines(tmp_path / "out")) == 6 * 2 * 12
    entry = json.loads(lines(tmp_path / "out")[0])
    assert list(entry) == ["method", "seed", "id", "image_id", "text", "tokens", "finish_reason"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    config = manifest["config"]
    assert config["methods"]["ritual:alpha=2"]["alpha"] == 2
    assert config["methods"]["ritual:alpha=2"]["transform"] == "random"
    assert config["seeds"] == [0, 1]
    assert config["dataset"]["items"] == 12
    assert config["dataset"]["images"] == 4
    assert re.fullmatch("[0-9a-f]{64}", config["weights_sha256"])
    assert {"secondsight", "torch", "transformers", "torchvision"} < set(config["versions"])
    assert "batch_size" in manifest["environment"]
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    jsonschema.validate(scores, schema())
    assert scores == json.loads(json.dumps(result.to_dict()))
    right = [json.loads(line) for line in lines(tmp_path / "out")]
    share = sum(
        entry["text"].startswith(model.labels[entry["id"]])
        for entry in right
        if entry["method"] == "regular"
    )
    assert scores["rows"][0]["metrics"]["accuracy"]["mean"] == pytest.approx(share / 24)


def test_the_question_suffix_and_parser_come_from_the_preset(
    source: Source, tmp_path: Path
) -> None:
    model = fake()
    run(model, source, tmp_path / "out", preset="vcd-2023")
    assert model.questions[0] == "Is it 0? Please answer this question with one word."
    config = json.loads((tmp_path / "out" / "manifest.json").read_text())["config"]
    assert config["parser"] == "vcd-2023"


@pytest.mark.parametrize("budget", [1, 3, 4, 17])
def test_a_killed_run_goes_on_to_the_same_answers(
    source: Source, tmp_path: Path, budget: int
) -> None:
    whole = run(fake(), source, tmp_path / "whole")
    with pytest.raises(Killed):
        run(fake(budget=budget), source, tmp_path / "out")
    second = fake()
    resumed = run(second, source, tmp_path / "out")
    assert lines(tmp_path / "out") == lines(tmp_path / "whole")
    assert len(second.calls) == 6 * 2 * 3 - budget
    assert resumed.comparison == whole.comparison
    for name in ("scores.json", "report.md", "report.html"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("cut", [1, 20, 100, 500])
def test_a_half_written_line_is_repaired_at_any_byte(
    source: Source, tmp_path: Path, cut: int
) -> None:
    run(fake(), source, tmp_path / "whole")
    run(fake(), source, tmp_path / "out")
    path = tmp_path / "out" / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    again = fake()
    run(again, source, tmp_path / "out")
    assert lines(tmp_path / "out") == lines(tmp_path / "whole")
    # The torn batch is computed whole again, so its composition is that of the first time.
    assert all(len(batch) == 4 for _, _, batch in again.calls)


def test_a_finished_run_asks_nothing_again(source: Source, tmp_path: Path) -> None:
    first = run(fake(), source, tmp_path / "out")
    second = fake(budget=0)
    assert run(second, source, tmp_path / "out").comparison == first.comparison


def test_answers_do_not_depend_on_batch_size(source: Source, tmp_path: Path) -> None:
    run(fake(), source, tmp_path / "a", batch_size=1)
    run(fake(), source, tmp_path / "b", batch_size=100)
    assert lines(tmp_path / "a") == lines(tmp_path / "b")


def test_greedy_answers_that_draw_nothing_are_made_once_for_all_seeds(
    source: Source, tmp_path: Path
) -> None:
    model = fake()
    run(model, source, tmp_path / "out", temperature=0.0, methods=["ritual", "m3id", "ritual+"])
    asked = {(method, seed) for method, seed, _ in model.calls}
    drawing = {(name, seed) for name in ("ritual", "ritual+") for seed in (0, 1)}
    assert asked == drawing | {(name, 0) for name in ("regular", "m3id", *CONTROLS)}
    entries = [json.loads(line) for line in lines(tmp_path / "out")]
    assert len(entries) == 8 * 2 * 12
    texts = {(e["method"], e["seed"], e["id"]): e["text"] for e in entries}
    assert all(texts["m3id", 0, str(n)] == texts["m3id", 1, str(n)] for n in range(12))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"methods": ["regular", "vcd"]}, "methods.ritual:alpha=2"),
        ({"seeds": [0]}, "seeds ([0, 1] there, [0] here)"),
        ({"temperature": 0.5}, "settings.temperature (1.0 there, 0.5 here)"),
        ({"preset": "ritual-2024"}, 'preset ("llava-official" there, "ritual-2024" here)'),
        ({"controls": False}, "methods.greedy"),
    ],
)
def test_another_configuration_is_refused_by_name(
    source: Source, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    run(fake(), source, tmp_path / "out")
    before = (tmp_path / "out" / "answers.jsonl").read_bytes()
    with pytest.raises(RunMismatchError) as error:
        run(fake(), source, tmp_path / "out", **change)
    assert named in str(error.value)
    assert (tmp_path / "out" / "answers.jsonl").read_bytes() == before
    run(fake(budget=0), source, tmp_path / "out")  # the refusal has let go of the folder


def test_other_weights_and_other_pictures_are_another_run(source: Source, tmp_path: Path) -> None:
    run(fake(), source, tmp_path / "out")
    other = fake()
    other.hf_model.weight.data[0, 0] = 5
    with pytest.raises(RunMismatchError, match="weights_sha256"):
        run(other, source, tmp_path / "out")
    Image.new("RGB", (4, 4), "white").save(Path(source.images or "") / "0.png")
    with pytest.raises(RunMismatchError, match=r"dataset\.sha256"):
        run(fake(), source, tmp_path / "out")


def test_two_processes_do_not_write_one_run(source: Source, tmp_path: Path) -> None:
    run(fake(), source, tmp_path / "out")
    with (
        FileLock(tmp_path / "out" / ".lock"),
        pytest.raises(UserError, match="another process is writing this run"),
    ):
        run(fake(), source, tmp_path / "out")
    run(fake(budget=0), source, tmp_path / "out")


def test_a_damaged_line_in_the_middle_is_named(source: Source, tmp_path: Path) -> None:
    run(fake(), source, tmp_path / "out")
    path = tmp_path / "out" / "answers.jsonl"
    content = path.read_text("utf-8").split("\n")
    content[1] = content[1][:10]
    path.write_text("\n".join(content), "utf-8")
    with pytest.raises(DataError, match=r"answers\.jsonl:2: damaged"):
        run(fake(), source, tmp_path / "out")


def test_absent_pictures_are_all_named_before_any_work(source: Source, tmp_path: Path) -> None:
    for name in ("1.png", "3.png"):
        (Path(source.images or "") / name).unlink()
    model = fake(budget=0)
    with pytest.raises(DataError) as error:
        run(model, source, tmp_path / "out")
    assert "2 listed images are absent" in str(error.value)
    assert "1.png" in str(error.value)
    assert "3.png" in str(error.value)
    assert not (tmp_path / "out").exists()
    lenient = run(fake(), source, tmp_path / "out", lenient=True)
    assert lenient.comparison.items == 6
    assert any(warning.startswith("2 x absent image") for warning in lenient.comparison.warnings)


def test_files_that_are_no_pictures_are_named_before_any_work(
    source: Source, tmp_path: Path
) -> None:
    (Path(source.images or "") / "2.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"1 listed images are unreadable:\n.*2\.png"):
        run(fake(budget=0), source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert run(fake(), source, tmp_path / "out", lenient=True).comparison.items == 9


def test_what_the_scores_depend_on_is_part_of_the_run(source: Source, tmp_path: Path) -> None:
    run(fake(), source, tmp_path / "out")
    other = replace(source, parser="vcd-2023")
    with pytest.raises(RunMismatchError, match=r'parser \("strict" there, "vcd-2023" here\)'):
        run(fake(), other, tmp_path / "out")


def test_limit_counts_pictures(source: Source, tmp_path: Path) -> None:
    limited = Source(questions=source.questions, images=source.images, limit=2)
    assert run(fake(), limited, tmp_path / "out").comparison.items == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ["rituall"]}, "rituall"),
        ({"seeds": [1, 1]}, "different whole numbers"),
        ({"batch_size": 0}, "batch size"),
        ({"preset": "llava"}, "llava"),
        ({"temperature": -1.0}, "temperature"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"seeds": [0.5]}, "seed"),
    ],
)
def test_unusable_settings(
    source: Source, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(fake(), source, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_model_loaded_with_another_preset_is_refused(source: Source, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="loaded with the preset 'llava-official'"):
        evaluate(
            "pope",
            model=fake(),  # type: ignore[arg-type]
            preset="vcd-2023",
            source=source,
            out=tmp_path / "out",
        )


def test_a_picture_outside_its_folder_is_refused(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "evil.jsonl"
    path.write_text('{"question_id": 1, "image": "../x.png", "text": "?", "label": "no"}\n')
    with pytest.raises(DataError, match="not a file name inside"):
        run(fake(), Source(questions=path, images=source.images), tmp_path / "out")


def test_reports_open_offline_and_say_what_the_table_says(source: Source, tmp_path: Path) -> None:
    run(fake(right={"regular": 0.2, "ritual": 0.95}), source, tmp_path / "out", seeds=[0])
    html = (tmp_path / "out" / "report.html").read_text()
    assert "<svg" in html
    outside = re.findall(r'(?:src|href)="(https?:[^"]+)"', html)
    assert not outside
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "| ritual:alpha=2 |" in markdown
    assert "greedy (control)" in markdown
    assert "preset llava-official, parser strict." in markdown
    heads = next(line for line in markdown.splitlines() if line.startswith("| method"))
    assert all(
        line.count("|") == heads.count("|")
        for line in markdown.splitlines()
        if line.startswith("|")
    )


def test_quirks_of_the_parser_reach_the_report(source: Source, tmp_path: Path) -> None:
    class TwoLines(FakeModel):
        def _answer(self, method, seed, identifier):  # type: ignore[no-untyped-def]
            answer = super()._answer(method, seed, identifier)
            return type(answer)("Yes\nNo", answer.ids)

    result = run(TwoLines(), source, tmp_path / "out", preset="ritual-2024", seeds=[0])
    assert any("12 answers have several lines" in w for w in result.comparison.warnings)
    assert "several lines" in (tmp_path / "out" / "report.html").read_text()


def test_captions_and_mme_run_through_the_same_path(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (tmp_path / "mme" / "count").mkdir(parents=True)
    folder.mkdir()
    images = []
    for number in range(3):
        picture = Image.new("RGB", (4, 4), (number, 9, 9))
        picture.save(folder / f"{number}.png")
        picture.save(tmp_path / "mme" / "count" / f"{number}.png")
        (tmp_path / "mme" / "count" / f"{number}.txt").write_text("Two?\tYes\nOne?\tNo\n")
        images.append({"id": number, "file_name": f"{number}.png"})
    instances = tmp_path / "instances.json"
    instances.write_text(
        json.dumps(
            {
                "images": images,
                "categories": [{"id": 1, "name": "dog"}],
                "annotations": [{"image_id": 0, "category_id": 1}],
            }
        )
    )
    chair = evaluate(
        "chair",
        model=FakeModel(),  # type: ignore[arg-type]
        source=Source(instances=instances, images=folder),
        out=tmp_path / "chair",
        progress=False,
        resamples=199,
    )
    assert chair.comparison.primary == "chair_i"
    assert "parser" not in (tmp_path / "chair" / "report.md").read_text()
    assert chair.comparison.items == 3
    mme = evaluate(
        "mme",
        model=FakeModel(),  # type: ignore[arg-type]
        source=Source(annotations=tmp_path / "mme"),
        out=tmp_path / "mme-run",
        progress=False,
        resamples=199,
    )
    assert mme.comparison.items == 6
    assert mme.comparison.headline == ("accuracy", "accuracy_plus", "hallucination", "yes_ratio")
    assert "count.score" in mme.comparison.rows[0].metrics
