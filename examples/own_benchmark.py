"""A benchmark of one's own, in one file: how many of a thing an image shows.

Nothing else is edited: running, resuming, intervals, comparisons, plots and reports go by what
this file declares. Run it to see the bundled model count in drawn scenes:

    python examples/own_benchmark.py

or use it by name on the command line, where its options stand behind the name:

    secondsight eval counting:questions=q.jsonl,images=photos --plugin own_benchmark.py
    secondsight score counting:questions=q.jsonl --answers a.jsonl --plugin own_benchmark.py

A line of the question file: {"id": 1, "image": "a.jpg", "thing": "dog", "count": 2}
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from secondsight.benchmarks import (
    Benchmark,
    Counts,
    Item,
    Metric,
    Problems,
    Response,
    Scorer,
    Task,
    image_file,
    option,
    ratio,
    read_records,
    register,
)

WORDS = {"no": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}


class CountScorer(Scorer):
    """Reduces each answer to counts; the metrics are functions of their sums."""

    def count(self, items: Sequence[Item], responses: Sequence[Response]) -> Counts:
        """How far off the first number of each answer is."""
        columns = {name: np.zeros(len(items)) for name in ("n", "correct", "error", "said")}
        for place, (item, response) in enumerate(zip(items, responses, strict=True)):
            said = first_number(response.text)
            columns["n"][place] = 1
            if said is not None:
                columns["said"][place] = 1
                columns["correct"][place] = said == item.truth["count"]
                columns["error"][place] = abs(said - item.truth["count"])
        return Counts(columns)

    def metrics(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        """Over arrays of any shape: the same function serves every resample and seed."""
        return {
            "accuracy": ratio(sums["correct"], sums["n"]),
            "mean_error": ratio(sums["error"], sums["said"]),
        }


def first_number(text: str) -> int | None:
    """The first number of a text, in digits or as a word."""
    for word in re.findall(r"\w+", text.lower()):
        if word.isdecimal():
            return int(word)
        if word in WORDS:
            return WORDS[word]
    return None


@register("counting")
@dataclass(frozen=True)
class Counting(Benchmark):
    """How many of a thing an image shows."""

    title: ClassVar[str] = "Counting"

    questions: str | Path | None = option(None, "question file", kind=Path)
    images: str | Path | None = option(None, "folder of the images", kind=Path)

    def load(self, problems: Problems) -> Task:
        """Reads the items, and says how answers to them are judged."""
        items = []
        for record in read_records(self.need("questions"), problems):
            line = record.data
            if not isinstance(line.get("count"), int):
                problems.add("no count", f"{record.where}: 'count' is not a whole number")
                continue
            items.append(
                Item(
                    id=str(line["id"]),
                    image_id=str(line["image"]),
                    image=image_file(self.images, str(line["image"]), record.where),
                    question=f"How many {line['thing']}s are in the image?",
                    truth={"count": line["count"]},
                )
            )
        return Task(
            dataset=Path(self.need("questions")).name,
            items=tuple(items),
            scorer=CountScorer(),
            metrics=(
                Metric("accuracy", shown=True, panel=True),
                Metric("mean_error", unit="points", better="less", shown=True, panel=True),
            ),
            max_new_tokens=16,
        )


def write_scenes(folder: Path, scenes: int) -> Path:
    """Draws some scenes into a folder, with a question about each."""
    from secondsight.benchmarks.stickers import make_scene, render

    lines = []
    for index in range(scenes):
        scene = make_scene("test", index)
        render(scene).image.save(folder / f"{index}.png")
        thing = scene.objects[0].category
        count = sum(one.category == thing for one in scene.objects)
        lines.append({"id": index, "image": f"{index}.png", "thing": thing, "count": count})
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def main(scenes: int = 8) -> None:
    """Lets the bundled model count, by regular decoding and one method."""
    from secondsight.benchmarks.runner import evaluate

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = Counting(questions=write_scenes(folder, scenes), images=folder)
        result = evaluate(made, methods=["vcd"], controls=False, out=folder / "run")
    for row in result.comparison.rows:
        figures = ", ".join(f"{name} {one.mean:.2f}" for name, one in row.metrics.items())
        print(f"{row.method}: {figures}")


if __name__ == "__main__":
    main()
