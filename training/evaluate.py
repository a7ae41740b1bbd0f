"""Stage 5: measure a model folder on the world, greedily, by plain transformers.

Usage:
    python -m training.evaluate --model src/secondsight/checkpoints/bundled --split test

Deliberately independent of secondsight's own decoding, so that the two can be compared.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration

from secondsight.benchmarks.pope_questions import build_pope_questions
from secondsight.benchmarks.stickers import (
    CATEGORIES,
    TASKS,
    Scene,
    file_name,
    instances_document,
    make_scene,
    mme_pair,
    render,
)
from secondsight.benchmarks.stickers.captions import NUMBERS, common_colour, place_of

from .data import MEAN, STD, square
from .tokenizer import BUNDLED, IMAGE_ID, PAD_ID, SYSTEM
from .wordings import UNKNOWN

DESCRIBE = "Describe this image in detail."


class Model:
    """A model folder with just enough around it to ask questions in batches.

    Args:
        folder: A Hugging Face LLaVA folder with a sentencepiece tokenizer.
    """

    def __init__(self, folder: Path) -> None:
        self.net = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.net.eval()
        self.sp = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        self.side = self.net.config.vision_config.image_size
        self.slots = [IMAGE_ID] * self.net.config.image_seq_length

    def pixels(self, picture: Image.Image) -> torch.Tensor:
        """Normalised pixels of a padded picture: (3, side, side) float32."""
        array = np.asarray(square(picture.convert("RGB"), self.side), dtype=np.float32) / 255
        normal = (array - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        return torch.from_numpy(normal.transpose(2, 0, 1).copy())

    def prompt(self, question: str) -> list[int]:
        """Token ids of a question, the image slots repeated for every patch."""
        before = self.sp.encode(f"{SYSTEM} USER: ")
        return [1, *before, *self.slots, *self.sp.encode(f"\n{question} ASSISTANT:")]

    @torch.inference_mode()
    def ask(
        self, pictures: Sequence[torch.Tensor], questions: Sequence[str], length: int, batch: int
    ) -> list[str]:
        """Greedy answers, one for each picture and question."""
        answers: list[str] = []
        for start in range(0, len(questions), batch):
            rows = [self.prompt(q) for q in questions[start : start + batch]]
            longest = max(len(r) for r in rows)
            ids = torch.tensor([[PAD_ID] * (longest - len(r)) + r for r in rows])
            out = self.net.generate(
                input_ids=ids,
                attention_mask=(ids != PAD_ID).long(),
                pixel_values=torch.stack(list(pictures[start : start + batch])),
                max_new_tokens=length,
                do_sample=False,
            )
            for row in out[:, longest:].tolist():
                end = row.index(2) if 2 in row else len(row)
                answers.append(self.sp.decode([i for i in row[:end] if i < PAD_ID]))
        return answers


_NAMES = sorted(
    ((form, c.name) for c in CATEGORIES for form in {c.name, c.plural}),
    key=lambda pair: -len(pair[0]),
)
_PATTERN = re.compile(r"\b(" + "|".join(form for form, _ in _NAMES) + r")\b")
_OF = dict(_NAMES)


def named(text: str) -> set[str]:
    """The categories that a caption names, the longest name winning ("hot dog", not "dog")."""
    return {_OF[m] for m in _PATTERN.findall(text.lower())}


def caption_scores(scenes: Sequence[Scene], texts: Sequence[str]) -> dict[str, float]:
    """Recall, CHAIRi and CHAIRs over categories."""
    present = found = said = wrong = bad = 0
    for scene, text in zip(scenes, texts, strict=True):
        truth, names = set(scene.categories), named(text)
        present += len(truth)
        found += len(truth & names)
        said += len(names)
        wrong += len(names - truth)
        bad += bool(names - truth)
    return {
        "recall": found / present,
        "chair_i": wrong / max(said, 1),
        "chair_s": bad / len(texts),
        "words": sum(len(t.split()) for t in texts) / len(texts),
    }


def yes_no_scores(answers: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """Accuracy and the share of answers that begin with yes."""
    said = ["yes" if a.lower().startswith("yes") else "no" for a in answers]
    right = sum(s == label for s, label in zip(said, labels, strict=True))
    return {
        "accuracy": right / len(labels),
        "yes_ratio": said.count("yes") / len(said),
        "n": len(said),
    }


def open_questions(scenes: Sequence[Scene]) -> list[tuple[int, str, str, str]]:
    """Questions with a short open answer: (scene, kind, question, words that must occur)."""
    found = []
    for number, scene in enumerate(scenes):
        for name in scene.categories[:3]:
            items = scene.of(name)
            plural = next(c.plural for c in CATEGORIES if c.name == name)
            ask = f"How many {plural} are there in the image?"
            found.append((number, "count", ask, f" {NUMBERS[len(items)]} "))
            if len(items) == 1:
                found.append((number, "position", f"Where is the {name}?", place_of(items[0])))
            colour = common_colour(items)
            if colour and len(items) == 1:
                found.append((number, "color", f"What color is the {name}?", colour))
    return found


def evaluate(model: Model, split: str, count: int, batch: int = 48) -> dict[str, Any]:
    """All scores of one split over its first `count` scenes."""
    scenes = [make_scene(split, index) for index in range(count)]
    drawn = [render(scene) for scene in scenes]
    pixels = [model.pixels(d.image) for d in drawn]
    place = {file_name(scene): i for i, scene in enumerate(scenes)}
    instances = instances_document(scenes, drawn)
    report: dict[str, Any] = {"split": split, "scenes": count}
    for strategy in ("random", "popular", "adversarial"):
        lines = build_pope_questions(instances, strategy=strategy)
        answers = model.ask(
            [pixels[place[x["image"]]] for x in lines], [x["text"] for x in lines], 1, batch
        )
        report[f"pope_{strategy}"] = yes_no_scores(answers, [x["label"] for x in lines])
    for task in TASKS:
        pairs = [(i, pair) for i, s in enumerate(scenes) if (pair := mme_pair(s, task))]
        asked = [
            (i, question, label)
            for i, (yes, no) in pairs
            for question, label in ((yes, "yes"), (no, "no"))
        ]
        answers = model.ask([pixels[i] for i, _, _ in asked], [q for _, q, _ in asked], 1, batch)
        report[f"mme_{task}"] = yes_no_scores(answers, [label for _, _, label in asked])
    opened = open_questions(scenes)
    answers = model.ask([pixels[i] for i, *_ in opened], [q for _, _, q, _ in opened], 16, batch)
    for kind in ("count", "position", "color"):
        marks = [
            want in f"{a.rstrip('.')} " and (kind != "position" or a.rstrip(".").endswith(want))
            for (_, k, _, want), a in zip(opened, answers, strict=True)
            if k == kind
        ]
        report[f"open_{kind}"] = {"accuracy": sum(marks) / max(len(marks), 1), "n": len(marks)}
    texts = model.ask(pixels, [DESCRIBE] * count, 120, batch)
    report["captions"] = caption_scores(scenes, texts)
    report["captions"]["unknown"] = sum(UNKNOWN in t for t in texts) / count
    report["examples"] = texts[:8]
    return report


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--split", nargs="+", default=["test"])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON file to write to")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = Model(args.model)
    reports = [evaluate(model, split, args.count) for split in args.split]
    text = json.dumps(reports, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
