"""lmms-eval's own command line, in an environment of its own, answers as `model.answer` does.

Installing takes a minute or two; ``SECONDSIGHT_LMMS_EVAL`` names the Python of an environment that
has lmms-eval and this package already.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import secondsight
from secondsight.benchmarks.stickers import make_scene, render
from secondsight.sample import Sample
from support import process

pytestmark = pytest.mark.slow  # it installs, and starts the program a few times

ROOT = Path(__file__).resolve().parents[2]
VERSION = "0.7.3"
FUNCTIONS = Path(__file__).parent / "lmms_eval_tasks" / "utils.py"

OBJECTS = {"a dog": "dog", "a backpack": "backpack", "a pair of skis": "skis", "a cat": "cat"}

TASK = """
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
task: {name}
test_split: test
output_type: {output}
doc_to_visual: !function utils.visual
doc_to_text: !function utils.{text}
doc_to_target: answer
process_results: !function utils.{results}
generation_kwargs: {options}
metric_list:
  - metric: {metric}
    aggregation: mean
    higher_is_better: true
"""

TASKS: dict[str, dict[str, Any]] = {
    "stickers_is_there": {
        "output": "generate_until",
        "text": "is_there",
        "results": "judged",
        "metric": "accuracy",
        "options": {"max_new_tokens": 8, "temperature": 0, "top_p": 0, "do_sample": False},
    },
    "stickers_describe": {
        "output": "generate_until",
        "text": "describe",
        "results": "words",
        "metric": "length",
        "options": {"max_new_tokens": 40, "temperature": 0.7, "top_p": 0.9, "do_sample": True},
    },
    "stickers_rounds": {
        "output": "generate_until_multi_round",
        "text": "rounds",
        "results": "counted",
        "metric": "asked",
        "options": {"max_new_tokens": 24, "until": ["zebra"]},
    },
}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with lmms-eval and this package, on top of this one."""
    given = os.environ.get("SECONDSIGHT_LMMS_EVAL")
    if given:
        return Path(given)
    folder = tmp_path_factory.mktemp("environment")
    process.run([sys.executable, "-m", "venv", folder])
    found = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(process.run([found, "-c", query]).stdout.strip())
    (own / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [found, "-m", "pip", "install", "--quiet"]
    done = process.run([*pip, f"lmms-eval=={VERSION}"])
    if done.returncode:
        pytest.skip(f"lmms-eval cannot be installed here: {done.stderr[-300:]}")
    done = process.run([*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT])
    assert done.returncode == 0, done.stderr
    return found


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Questions about scenes, several about each."""
    folder = tmp_path_factory.mktemp("scenes")
    asked = []
    for number in range(3):
        scene = make_scene("test", number)
        path = folder / f"{number}.png"
        render(scene).image.save(path)
        for phrase, category in OBJECTS.items():
            truth = "yes" if category in scene.categories else "no"
            asked.append({"image": str(path), "object": phrase, "answer": truth})
    return asked


@pytest.fixture(scope="module")
def tasks(rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tasks on them."""
    folder = tmp_path_factory.mktemp("tasks")
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "utils.py").write_text(FUNCTIONS.read_text())
    for name, task in TASKS.items():
        options = json.dumps(task["options"])
        text = TASK.format(**{**task, "options": options}, data=data, name=name)
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def model() -> secondsight.Model:
    return secondsight.load(device="cpu")


class Harness:
    """lmms-eval's command line."""

    def __init__(self, python: Path, tasks: Path) -> None:
        self.python, self.tasks = python, tasks
        self.launcher: tuple[str, ...] = ()

    def run(self, out: Path, names: str, arguments: str, *more: str) -> str:
        """Run tasks; what is printed."""
        command = [
            self.python, *self.launcher, "-m", "lmms_eval",
            "--model", "secondsight", "--model_args", arguments,
            "--tasks", names, "--include_path", self.tasks, "--output_path", out, "--log_samples",
            "--device", "cpu", "--batch_size", "5", *more,
        ]  # fmt: skip
        environment = {"HF_HOME": str(self.tasks / "hub"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
        done = process.run(command, cwd=self.tasks, env=environment)
        print(done.stdout)
        return done.stdout + done.stderr

    def __call__(
        self, out: Path, names: str, arguments: str, *more: str
    ) -> tuple[dict[str, Any], dict[str, dict[int, Any]]]:
        """Run tasks; their metrics, and the answers of each by document."""
        said = self.run(out, names, arguments, *more)
        [found] = [*out.rglob("*_results.json")] or pytest.fail(said[-5000:])
        answers: dict[str, dict[int, Any]] = {}
        for path in out.rglob("*_samples_*.jsonl"):
            name = path.stem.partition("_samples_")[2]
            lines = map(json.loads, path.read_text().splitlines())
            answers[name] = {line["doc_id"]: line["filtered_resps"] for line in lines}
        return json.loads(found.read_text())["results"], answers


@pytest.fixture
def harness(python: Path, tasks: Path) -> Harness:
    return Harness(python, tasks)


def alone(model: secondsight.Model, sample: Sample, method: str, **settings: Any) -> str:
    """The answer to a request that is in nobody's company."""
    return model.answer_batch([sample], method, **settings)[0].text


@pytest.mark.parametrize("method", ["regular", "ritual:alpha=3;beta=0.2"])
def test_it_answers_as_the_library_does(
    method: str,
    harness: Harness,
    rows: list[dict[str, str]],
    model: secondsight.Model,
    tmp_path: Path,
) -> None:
    figures, answers = harness(
        tmp_path,
        "stickers_is_there,stickers_describe,stickers_rounds",
        f"pretrained=bundled,method={method},seed=3",
    )
    ours = method.replace(";", ",")
    right = asked = 0
    for number, row in enumerate(rows):
        image, question = row["image"], f"Is there {row['object']} in the image?"
        sample = Sample(image, question, f"stickers_is_there/test/{number}")
        said = alone(model, sample, ours, max_new_tokens=8, seed=3)
        assert answers["stickers_is_there"][number] == said
        right += said.lower().startswith("yes") == (row["answer"] == "yes")

        sample = Sample(image, "Describe the image.", f"stickers_describe/test/{number}")
        told = alone(model, sample, ours, max_new_tokens=40, temperature=0.7, top_p=0.9, seed=3)
        assert answers["stickers_describe"][number] == told

        name, short = f"stickers_rounds/test/{number}", {"max_new_tokens": 24, "seed": 3}
        talk = [alone(model, Sample(image, "Describe the image.", name), ours, **short)]
        talk.append(alone(model, Sample(image, question, f"{name}/1"), ours, **short))
        if talk[1].lower().startswith("yes"):
            last = Sample(image, f"How many are there? {Path(image).stem}", f"{name}/2")
            talk.append(alone(model, last, ours, **short))
        assert answers["stickers_rounds"][number] == talk
        asked += len(talk)
    assert figures["stickers_is_there"]["accuracy,none"] == pytest.approx(right / len(rows))
    assert figures["stickers_rounds"]["asked,none"] == pytest.approx(asked / len(rows))
    assert 2 * len(rows) < asked < 3 * len(rows)


DIRECT = """
import json, sys
from lmms_eval.api.instance import Instance
from secondsight.errors import UserError
from secondsight.integrations.lmms_eval import SecondSight

image = sys.argv[1]
model = SecondSight(method="vcd:alpha=2;step=300", errors="empty", device="cpu", until="stop")
model.task_dict = {"t": {"test": [image, "nowhere.png", None]}}

def messages(path, **rounds):
    content = [{"type": "text", "text": "Describe the image."}]
    if path is not None:
        content.insert(0, {"type": "image", "url": path})
    made = [{"role": "user", "content": content}]
    return (made, False, None, None) if rounds else made

def asked(row, **options):
    place = {"task": "t", "doc_id": row, "repeats": 1}
    arguments = ("", messages, {"max_new_tokens": 12, **options}, row, "t", "test")
    return Instance("generate_until", arguments, 0, place)

def refused(function, *requests):
    try:
        function(requests)
    except UserError as error:
        return str(error)

drawn = {"temperature": 1.5, "do_sample": True}
found = model.generate_until(
    [asked(0, **drawn), asked(0, **drawn), asked(1), asked(0), asked(0, until=[" a"]), asked(2)]
)
model.errors = "raise"
print(json.dumps({
    "method": model.method.spec,
    "texts": [one.text for one in found],
    "counts": [one.token_counts.output_tokens for one in found],
    "missing": refused(model.generate_until, asked(1)),
    "likelihood": refused(model.loglikelihood, asked(0)),
    "endless": refused(model.generate_until_multi_round, asked(0, max_new_tokens=1)),
}))
"""


def test_the_class_by_itself(
    python: Path, rows: list[dict[str, str]], model: secondsight.Model
) -> None:
    """Repeated requests, those that cannot be answered, texts to stop at, and no image."""
    image, method = rows[0]["image"], "vcd:alpha=2,step=300"
    done = process.run([python, "-c", DIRECT, image], env={"PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["method"] == method
    names = ("t/test/0", "t/test/0#2", "t/test/0#3", "t/test/0#4")
    options: tuple[dict[str, Any], ...] = (
        {"temperature": 1.5},
        {"temperature": 1.5},
        {},
        {"stop": (" a",)},
    )
    first, again, plain, stopped = (
        alone(model, Sample(image, "Describe the image.", name), method, max_new_tokens=12, **more)
        for name, more in zip(names, options, strict=True)
    )
    blind = Sample(None, "Describe the image.", "t/test/2")
    regular = alone(model, blind, "regular", max_new_tokens=12)
    assert found["texts"] == [first, again, "", plain, stopped, regular]
    assert first != again
    assert " a" not in stopped
    assert len(stopped) < len(plain)
    assert found["counts"][2:4] == [0, 12]
    assert found["missing"].startswith("t/test/1: ")
    assert "nowhere.png" in found["missing"]
    assert "generate_until" in found["likelihood"]
    assert found["endless"] == "t/test/0: there is no end after 100 rounds."


def test_two_processes_share_the_work(
    harness: Harness, rows: list[dict[str, str]], model: secondsight.Model, tmp_path: Path
) -> None:
    """11 documents in two shares, the second filled up with one that is asked again."""
    harness.launcher = (
        *("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"),
        *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
    )
    task, limit = "stickers_is_there", ("--limit", "11")
    _, answers = harness(tmp_path, task, "pretrained=bundled,method=ritual", *limit)
    assert answers[task] == {
        number: alone(
            model,
            Sample(
                row["image"], f"Is there {row['object']} in the image?", f"{task}/test/{number}"
            ),
            "ritual",
            max_new_tokens=8,
        )
        for number, row in enumerate(rows[:11])
    }


def test_what_cannot_be_is_said(harness: Harness, tmp_path: Path) -> None:
    said = harness.run(tmp_path, "stickers_is_there", "pretrained=bundled,methd=ritual")
    assert "There is no argument 'methd'. Did you mean 'method'?" in said


def test_the_doctor_names_what_clashes(python: Path) -> None:
    """lmms-eval's wandb holds protobuf back, which the newest sentencepiece does not stand."""
    done = process.run([python, "-m", "secondsight", "doctor", "--json"], env={"PYTHONPATH": ""})
    report = json.loads(done.stdout)
    assert report["bundled_model"]["loads"] is True
    versions = report["versions"]
    if versions["protobuf"].startswith("6.") and versions["sentencepiece"] == "0.2.3":
        assert any("(wandb 0.25.0 wants protobuf" in problem for problem in report["problems"])
    else:
        assert report["problems"] == []
