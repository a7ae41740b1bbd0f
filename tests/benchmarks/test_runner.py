"""Runs: complete, resumable, refused when they do not fit, and with reports that open offline."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from filelock import FileLock
from PIL import Image

from secondsight.benchmarks import DataError, Pope, report, runner, score
from secondsight.benchmarks.comparing import comparison_of
from secondsight.benchmarks.report import schema
from secondsight.benchmarks.run import RunMismatchError
from secondsight.benchmarks.runner import Evaluation, evaluate
from secondsight.errors import UserError
from secondsight.methods import Ritual
from secondsight.presets import PRESETS
from support.fake_model import FakeModel, Killed, answer

CONTROLS = {"greedy", "apc", "sharpened", "identity"}


@pytest.fixture
def source(tmp_path: Path) -> Pope:
    """Twelve POPE questions about four images."""
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
    return Pope(questions=path, images=folder)


@pytest.fixture(autouse=True)
def no_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take longer than all the rest; only the report's own test draws them."""
    if "offline" not in request.node.name:
        monkeypatch.setattr(report, "plots", lambda comparison: [])


def fake(**settings: object) -> FakeModel:
    labels = {str(number): "no" if number % 2 else "yes" for number in range(12)}
    return FakeModel(labels=labels, **settings)  # type: ignore[arg-type]


def run(model: FakeModel, source: Pope, out: Path, **settings: object) -> Evaluation:
    given = {
        "methods": ["regular", "ritual:alpha=2"],
        "seeds": [0, 1],
        "batch_size": 1,  # four are answered in one go
        "progress": False,
        "resamples": 199,
        **settings,
    }
    model.preset = PRESETS.get(str(given.get("preset")), model.preset)
    return evaluate(source, model=model, out=out, **given)  # type: ignore[arg-type]


def lines(out: Path) -> list[str]:
    return sorted((out / "answers.jsonl").read_text("utf-8").split("\n")[:-1])


def test_a_run_holds_everything(source: Pope, tmp_path: Path) -> None:
    model = fake(right={"ritual": 0.9})
    result = run(model, source, tmp_path / "out")
    methods = [row.method for row in result.comparison.rows]
    assert methods[:2] == ["regular", "ritual:alpha=2"]
    assert set(methods[2:]) == CONTROLS
    assert all(row.control for row in result.comparison.rows[2:])
    assert len(lines(tmp_path / "out")) == 6 * 2 * 12
    entry = json.loads(lines(tmp_path / "out")[0])
    assert list(entry) == [
        "method", "seed", "id", "image_id", "question", "item", "model", "weights", "dtype",
        "preset", "settings", "text", "tokens", "finish_reason",
    ]  # fmt: skip
    assert entry["settings"] == {
        "temperature": 1.0, "top_p": 1.0, "top_k": None, "max_new_tokens": 16,
    }  # fmt: skip
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    config = manifest["config"]
    assert manifest["methods"]["ritual:alpha=2"]["alpha"] == 2
    assert manifest["methods"]["ritual:alpha=2"]["transform"] == "random"
    assert config["dataset"] == "questions.jsonl"
    assert config["weights"] == "sha256:fake"
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


def test_the_question_suffix_and_parser_come_from_the_preset(source: Pope, tmp_path: Path) -> None:
    model = fake()
    run(model, source, tmp_path / "out", preset="vcd-2023")
    assert model.questions[0] == "Is it 0? Please answer this question with one word."
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["scoring"] == {"parser": "vcd-2023"}
    other = run(
        fake(budget=0), replace(source, parser="strict"), tmp_path / "out", preset="vcd-2023"
    )
    assert other.comparison.scoring == {"parser": "strict"}


@pytest.mark.parametrize("budget", [1, 3, 4, 17])
def test_a_killed_run_goes_on_to_the_same_answers(
    source: Pope, tmp_path: Path, budget: int
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
    source: Pope, tmp_path: Path, cut: int
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


def test_a_question_that_cannot_be_answered_is_named_or_left_out(
    source: Pope, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="1 questions cannot be answered, the first of them 2: br"):
        run(fake(broken=frozenset({"2"})), source, tmp_path / "out")
    assert len(lines(tmp_path / "out")) == 3  # the others of its batch are not lost
    lenient = run(fake(broken=frozenset({"2"})), source, tmp_path / "out", lenient=True)
    assert lenient.comparison.items == 11
    assert lenient.comparison.warnings == (
        "1 x question that cannot be answered (first: 2: broken)",
    )
    assert run(fake(), source, tmp_path / "out").comparison.items == 12


def test_what_an_interrupted_run_leaves_can_be_compared(source: Pope, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(fake(budget=7), source, tmp_path / "out", seeds=[0])
    scored = score(source, tmp_path / "out", lenient=True)
    compared = comparison_of(scored, resamples=99)
    assert compared is not None
    assert len(compared.rows) == 6
    assert compared.items == 4


def test_a_changed_plugin_is_another_method(
    source: Pope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = iter("ab")
    monkeypatch.setattr(runner, "code_hash", lambda of: next(hashes) if of is Ritual else None)
    run(fake(), source, tmp_path / "out", controls=False)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["methods"]["ritual:alpha=2"]["code_sha256"] == "a"
    with pytest.raises(RunMismatchError, match=r"methods\.ritual:alpha=2\.code_sha256 \('a' there"):
        run(fake(), source, tmp_path / "out", controls=False)


def test_a_finished_run_asks_nothing_again(source: Pope, tmp_path: Path) -> None:
    first = run(fake(), source, tmp_path / "out")
    second = fake(budget=0)
    assert run(second, source, tmp_path / "out").comparison == first.comparison


def test_answers_do_not_depend_on_batch_size(source: Pope, tmp_path: Path) -> None:
    run(fake(), source, tmp_path / "a", batch_size=1)
    run(fake(), source, tmp_path / "b", batch_size=100)
    assert lines(tmp_path / "a") == lines(tmp_path / "b")


def test_greedy_answers_that_draw_nothing_are_made_once_for_all_seeds(
    source: Pope, tmp_path: Path
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


def test_a_finished_run_takes_more_without_asking_again(source: Pope, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(fake(), source, out, seeds=[0], methods=["regular"], controls=False, limit=2)
    for change, asked in (
        ({"limit": 3}, {("regular", 0)}),
        ({"limit": 3, "methods": ["vcd"]}, {("vcd", 0)}),
        ({"limit": 3, "methods": ["vcd"], "seeds": [0, 1]}, {("regular", 1), ("vcd", 1)}),
        ({"limit": 2, "methods": ["vcd"], "seeds": [1]}, set()),  # a part of what is there
    ):
        model = fake()
        result = run(
            model, source, out, **{"seeds": [0], "methods": ["regular"], "controls": False} | change
        )
        assert {(method, seed) for method, seed, _ in model.calls} == asked
        assert result.comparison.items == 3 * change["limit"]
        assert result.comparison.seeds == tuple(change.get("seeds", [0]))
    whole = tmp_path / "whole"
    run(fake(), source, whole, methods=["vcd"], controls=False, limit=3)
    assert lines(out) == lines(whole)


def test_another_parser_needs_no_model(source: Pope, tmp_path: Path) -> None:
    first = run(fake(), source, tmp_path / "out")
    before = lines(tmp_path / "out")
    other = replace(source, parser="official")
    second = run(fake(budget=0), other, tmp_path / "out")
    assert second.comparison.scoring == {"parser": "official"}
    assert lines(tmp_path / "out") == before
    assert run(fake(budget=0), source, tmp_path / "out").comparison == first.comparison


def test_mended_labels_change_the_scores_alone(source: Pope, tmp_path: Path) -> None:
    run(fake(), source, tmp_path / "out")
    path = Path(source.questions or "")
    path.write_text(path.read_text().replace('"label": "yes"', '"label": "no"'))
    again = run(fake(budget=0), source, tmp_path / "out")
    assert again.comparison.rows[0].metrics["recall"].mean == 0  # nothing is labelled yes


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"temperature": 0.5}, "settings.temperature (1.0 there, 0.5 here)"),
        ({"max_new_tokens": 3}, "settings.max_new_tokens (16 there, 3 here)"),
        ({"preset": "ritual-2024"}, "preset ('llava-official' there, 'ritual-2024' here)"),
    ],
)
def test_another_making_is_refused_by_name(
    source: Pope, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    run(fake(), source, tmp_path / "out")
    before = (tmp_path / "out" / "answers.jsonl").read_bytes()
    with pytest.raises(RunMismatchError) as error:
        run(fake(), source, tmp_path / "out", **change)
    assert named in str(error.value)
    assert (tmp_path / "out" / "answers.jsonl").read_bytes() == before
    run(fake(budget=0), source, tmp_path / "out")  # the refusal has let go of the folder


def test_another_model_or_dataset_is_refused_by_name(source: Pope, tmp_path: Path) -> None:
    run(fake(), source, tmp_path / "out")
    with pytest.raises(RunMismatchError, match="model \\('fake' there, 'other' here\\)"):
        run(fake(name="other"), source, tmp_path / "out")
    renamed = Path(source.questions or "").rename(tmp_path / "others.jsonl")
    other = replace(source, questions=renamed)
    with pytest.raises(RunMismatchError, match=r"dataset \('questions\.jsonl' there, 'others"):
        run(fake(), other, tmp_path / "out")


def test_other_weights_and_other_images_are_another_run(source: Pope, tmp_path: Path) -> None:
    run(fake(), source, tmp_path / "out")
    other = fake()
    other.identity = "sha256:other"
    with pytest.raises(RunMismatchError, match=r"weights \('sha256:fake' there, 'sha256:other'"):
        run(other, source, tmp_path / "out")
    Image.new("RGB", (4, 4), "white").save(Path(source.images or "") / "0.png")
    with pytest.raises(RunMismatchError, match="3 other questions or images of the same names"):
        run(fake(), source, tmp_path / "out")


def test_two_processes_do_not_write_one_run(source: Pope, tmp_path: Path) -> None:
    run(fake(), source, tmp_path / "out")
    with (
        FileLock(tmp_path / "out" / ".answers.jsonl.lock"),
        pytest.raises(UserError, match="another process is writing it"),
    ):
        run(fake(), source, tmp_path / "out")
    run(fake(budget=0), source, tmp_path / "out")


def test_a_damaged_line_in_the_middle_is_named(source: Pope, tmp_path: Path) -> None:
    run(fake(), source, tmp_path / "out")
    path = tmp_path / "out" / "answers.jsonl"
    content = path.read_text("utf-8").split("\n")
    content[1] = content[1][:10]
    path.write_text("\n".join(content), "utf-8")
    with pytest.raises(UserError, match=r"Line 2 of .*answers\.jsonl' is not an answer of this"):
        run(fake(), source, tmp_path / "out")


def test_absent_pictures_are_all_named_before_any_work(source: Pope, tmp_path: Path) -> None:
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


def test_files_that_are_no_pictures_are_named_before_any_work(source: Pope, tmp_path: Path) -> None:
    (Path(source.images or "") / "2.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"1 listed images are unreadable:\n.*2\.png"):
        run(fake(budget=0), source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert run(fake(), source, tmp_path / "out", lenient=True).comparison.items == 9


def test_limit_counts_pictures(source: Pope, tmp_path: Path) -> None:
    assert run(fake(), source, tmp_path / "out", limit=2).comparison.items == 6


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
    source: Pope, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(fake(), source, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_model_loaded_with_another_preset_is_refused(source: Pope, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="loaded with the preset 'llava-official'"):
        evaluate(
            source,
            model=fake(),  # type: ignore[arg-type]
            preset="vcd-2023",
            out=tmp_path / "out",
        )


def test_a_picture_outside_its_folder_is_refused(source: Pope, tmp_path: Path) -> None:
    path = tmp_path / "evil.jsonl"
    path.write_text('{"question_id": 1, "image": "../x.png", "text": "?", "label": "no"}\n')
    with pytest.raises(DataError, match="not a file name inside"):
        run(fake(), Pope(questions=path, images=source.images), tmp_path / "out")


def test_reports_open_offline_and_say_what_the_table_says(source: Pope, tmp_path: Path) -> None:
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


def test_quirks_of_the_parser_reach_the_report(source: Pope, tmp_path: Path) -> None:
    class TwoLines(FakeModel):
        def _answer(self, method, seed, sample):  # type: ignore[no-untyped-def]
            return answer("Yes\nNo")

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
        options={"instances": instances, "images": folder},
        out=tmp_path / "chair",
        progress=False,
        resamples=199,
    )
    assert chair.comparison.primary.name == "chair_i"
    assert "parser" not in (tmp_path / "chair" / "report.md").read_text()
    assert chair.comparison.items == 3
    mme = evaluate(
        "mme",
        model=FakeModel(),  # type: ignore[arg-type]
        options={"annotations": tmp_path / "mme"},
        out=tmp_path / "mme-run",
        progress=False,
        resamples=199,
    )
    assert mme.comparison.items == 6
    shown = [metric.name for metric in mme.comparison.shown]
    assert shown == ["accuracy", "accuracy_plus", "hallucination", "yes_ratio"]
    assert "count.score" in mme.comparison.rows[0].metrics
