"""POPE's questions from any COCO-format instances (Li et al., arXiv 2305.10355).

Per image, `per_image` objects that are there and as many that are not:

* random: absent objects drawn evenly;
* popular: the absent objects that most images of the dataset show;
* adversarial: the absent objects that most often come together with the image's own objects.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.random import PCG64, Generator

Strategy: TypeAlias = Literal["random", "popular", "adversarial"]
STRATEGIES: Final[tuple[str, ...]] = get_args(Strategy)


def build_pope_questions(
    instances: Mapping[str, Any],
    *,
    strategy: str,
    per_image: int = 3,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Builds the lines of a POPE question file.

    An image with fewer than `per_image` objects is left out, as in the published procedure, where
    only images with at least three annotated objects are used.

    Args:
        instances: A COCO instances document: "images", "annotations" and "categories".
        strategy: "random", "popular" or "adversarial".
        per_image: Objects present, and objects absent, asked for each image.
        seed: Seed of the draws. The positives are the same for every strategy.

    Returns:
        One dict per question: `question_id` (from 1), `image` (file name), `text`, `label`
        ("yes" or "no"), positives and negatives by turns.

    Raises:
        ValueError: If the strategy is unknown, `per_image` is below 1 or the seed below 0.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}; there are random, popular, adversarial")
    if per_image < 1:
        raise ValueError("per_image must be at least 1")
    if seed < 0:
        raise ValueError(f"the seed must be at least 0, not {seed}")
    names = {c["id"]: str(c["name"]) for c in instances["categories"]}
    present: dict[Any, set[str]] = {image["id"]: set() for image in instances["images"]}
    for annotation in instances["annotations"]:
        if annotation["image_id"] in present:
            present[annotation["image_id"]].add(names[annotation["category_id"]])
    order = sorted(names.values())
    frequency = Counter(name for found in present.values() for name in found)
    together = _together(present, order)
    place = {name: i for i, name in enumerate(order)}
    questions: list[dict[str, Any]] = []
    for image in instances["images"]:
        found = sorted(present[image["id"]])
        absent = [name for name in order if name not in present[image["id"]]]
        if len(found) < per_image or len(absent) < per_image:
            continue
        rng = Generator(PCG64([seed, _number(image["id"])]))
        positives = [found[i] for i in rng.choice(len(found), per_image, replace=False)]
        if strategy == "random":
            negatives = [absent[i] for i in rng.choice(len(absent), per_image, replace=False)]
        elif strategy == "popular":
            negatives = sorted(absent, key=lambda n: -frequency[n])[:per_image]
        else:
            score = together[[place[n] for n in found]].sum(axis=0)
            negatives = sorted(absent, key=lambda n: -score[place[n]])[:per_image]
        for yes, no in zip(positives, negatives, strict=True):
            for name, label in ((yes, "yes"), (no, "no")):
                questions.append(
                    {
                        "question_id": len(questions) + 1,
                        "image": str(image["file_name"]),
                        "text": f"Is there {_article(name)} {name} in the image?",
                        "label": label,
                    }
                )
    return questions


def _together(present: Mapping[Any, set[str]], order: list[str]) -> np.ndarray[Any, Any]:
    """How many images show each pair of objects: (categories, categories) int64."""
    place = {name: i for i, name in enumerate(order)}
    shows = np.zeros((len(present), len(order)), dtype=np.int64)
    for row, found in enumerate(present.values()):
        shows[row, [place[name] for name in found]] = 1
    counts: np.ndarray[Any, Any] = shows.T @ shows
    np.fill_diagonal(counts, 0)
    return counts


def _number(image_id: Any) -> int:
    """A whole number for an image id, which COCO's own are already."""
    if isinstance(image_id, int) and image_id >= 0:
        return image_id
    return int.from_bytes(hashlib.blake2b(str(image_id).encode(), digest_size=8).digest(), "big")


def _article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" else "a"
