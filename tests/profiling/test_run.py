"""The benchmark: it runs every scheme, counts forwards, and its schemes agree."""

from __future__ import annotations

import json
import math

import pytest
import torch
from typer.testing import CliRunner

import secondsight
from secondsight import Sample
from secondsight.benchmarks.sticker_source import sticker_images
from secondsight.errors import UserError
from secondsight.profiling import random_model, run
from secondsight.profiling.checks import CHECKS
from secondsight.profiling.confidence import set_confidence, top_margins
from secondsight.profiling.plan import paired_ratio
from secondsight.profiling.report import columns, floors, plot, table
from secondsight.profiling.report import rows as cells
from secondsight.profiling.run import OBJECTS, random_image


@pytest.fixture(scope="module")
def tiny():
    return random_model("tiny", dtype=torch.float32)


@pytest.fixture(scope="module")
def result(tiny):
    options = {"tokens": 6, "questions": 3, "repeats": 2, "warmup": 0}
    return run(tiny, ["ritual", "m3id"], single=0.5, single_first=0.67, **options)


def rows(result, workload):
    return {(m.method, m.scheme): m for m in result.measurements if m.workload == workload}


def test_every_scheme_is_measured(result):
    schemes = {"naive", "auto", "joint", "lazy"}
    wanted = {("regular", "regular"), ("regular", "engine")} | {
        (m, s) for m in ("ritual", "m3id") for s in schemes
    }
    assert set(rows(result, "caption")) == wanted


def test_forwards_are_those_of_the_scheme(result):
    captions = rows(result, "caption")
    assert captions["regular", "regular"].forwards == 6
    # What questions on an image share is read in a pass of its own.
    assert captions["regular", "engine"].forwards == 7
    assert captions["ritual", "naive"].forwards == 12
    assert captions["ritual", "joint"].forwards == 7
    assert 7 <= captions["ritual", "lazy"].forwards <= 14
    questions = rows(result, "yes/no")
    assert questions["regular", "regular"].forwards == 3
    assert questions["ritual", "naive"].forwards == 6
    assert questions["m3id", "auto"].forwards < 6  # the first token never needs M3ID's view


def test_ratios_are_paired():
    assert paired_ratio([2.0, 30.0, 4.0], [1.0, 10.0, 2.0]) == 2.0


def test_regular_is_its_own_measure(result):
    regular = rows(result, "caption")["regular", "regular"]
    assert regular.ratio == regular.token_ratio == regular.floor_ratio == 1.0
    assert len(regular.times) == 6
    assert list(regular.times) == sorted(regular.times)


def test_the_floor_is_regular_and_one_reading_of_each_view(result):
    assert [(floor.method, len(floor.views)) for floor in result.floors] == [
        ("ritual", 1),
        ("m3id", 1),
    ]
    regular = rows(result, "caption")["regular", "regular"].seconds
    assert all(floor.regular == regular for floor in result.floors)
    assert all(floor.views[0] > 0 for floor in result.floors)
    assert floors(result)[0].startswith("floor of ritual: ")


def test_the_end_of_answers_is_put_back(tiny, result):
    del result
    assert tiny.hf_model.generation_config.eos_token_id is not None


@pytest.mark.parametrize("single", [0.3, 0.7])
def test_confidence_of_random_weights_is_as_asked(single):
    model = random_model("tiny", dtype=torch.float32, single=single, seed=1)
    inputs = model.encode(None, "Is there a dog in the image? " * 20)
    with torch.no_grad():
        logits = model.hf_model(**inputs).logits[0].float()
    best = logits.topk(2, dim=-1).values
    share = (best[:, 0] - best[:, 1] > math.log(10)).float().mean().item()
    assert abs(share - single) < 0.2


def test_confidence_is_set_to_what_was_measured(tiny):
    samples = [Sample(random_image(), f"Is there a {name}?") for name in OBJECTS]
    set_confidence(tiny, top_margins(tiny, samples, 1), 0.7)
    answers = tiny.answer_batch(samples, "apc", max_new_tokens=1, evidence=True)
    assert sum(answer.evidence[0].plausible == 1 for answer in answers) == 7
    before = [answer.ids for answer in tiny.answer_batch(samples, max_new_tokens=5)]
    set_confidence(tiny, top_margins(tiny, samples, 5), 0.3)
    assert top_margins(tiny, samples, 5).gt(math.log(10)).float().mean() == pytest.approx(0.3)
    assert [answer.ids for answer in tiny.answer_batch(samples, max_new_tokens=5)] == before
    with pytest.raises(UserError, match="between 0 and 1"):
        set_confidence(tiny, torch.ones(3), 1.5)


def test_only_what_is_asked_for_is_timed(tiny):
    options = {"tokens": 2, "questions": 1, "repeats": 1, "warmup": 0}
    found = run(tiny, ["m3id"], schemes=["auto"], workloads=["caption"], **options)
    schemes = [(one.method, one.scheme) for one in found.measurements]
    assert schemes == [("regular", "regular"), ("regular", "engine"), ("m3id", "auto")]


def test_table_and_plot(result, tmp_path):
    assert table(result, "caption").row_count == 10
    assert table(result, "yes/no").row_count == 8
    for workload in ("caption", "yes/no"):
        assert {len(row) for row in cells(result, workload)} == {len(columns(workload))}
    plot(result, tmp_path / "times.svg")
    assert "<svg" in (tmp_path / "times.svg").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["times.svg"]


def test_ratios_of_the_table(result):
    table = {tuple(row[:2]): row for row in cells(result, "yes/no")}
    place = columns("yes/no").index("x naive")
    found = rows(result, "yes/no")
    want = found["m3id", "naive"].seconds / found["m3id", "auto"].seconds
    assert float(table["m3id", "auto"][place]) == pytest.approx(want, abs=0.006)
    assert table["m3id", "naive"][place] == "1.00"
    assert table["regular", "regular"][place - 1] == "1.00"


def test_checks_are_timed_beside_the_caption_that_they_are_about():
    image = list(sticker_images("conflict").values())[4]()
    options = {"tokens": 64, "questions": 3, "repeats": 1, "warmup": 0, "image": image}
    found = run(secondsight.load(), [], workloads=["check"], **options)
    timed = rows(found, "check")
    assert list(timed) == [
        ("regular", "regular"),
        ("regular", "engine"),
        *((spec, "auto") for spec in CHECKS),
        ("asking", "engine"),
    ]
    regular, engine = timed["regular", "regular"], timed["regular", "engine"]
    assert regular.forwards < 64  # it ends by itself
    doubts, asking = timed["check:repair=none", "auto"], timed["asking", "engine"]
    # Questions of one call are answered in one batch, on what is read already.
    assert doubts.forwards <= engine.forwards + 3
    assert asking.forwards <= 2
    assert asking.per_token == pytest.approx(asking.seconds / 3)
    assert table(found, "check").row_count == 6
    assert {len(row) for row in cells(found, "check")} == {len(columns("check"))}


def test_unknown_shape_is_named():
    with pytest.raises(UserError, match="'2b'"):
        random_model("2b")


def test_command_line():
    from secondsight.cli.main import app

    arguments = ["bench", "--random-weights", "tiny", "--methods", "vcd", "--tokens", "3"]
    arguments += ["--repeats", "1", "--warmup", "0", "--questions", "2", "--json"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    content = json.loads(outcome.stdout[outcome.stdout.index("{") :])
    assert {one["workload"] for one in content["measurements"]} == {"caption", "yes/no"}
    assert CliRunner().invoke(app, ["bench", "--workloads", "x"]).exit_code == 2
    assert CliRunner().invoke(app, ["bench", "--schemes", "x"]).exit_code == 2
