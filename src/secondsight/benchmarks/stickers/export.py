"""Writing the world to disk in the formats that evaluation code expects."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from secondsight.benchmarks.pope_questions import build_pope_questions

from .annotations import captions_document, file_name, instances_document
from .questions import TASKS, mme_pair
from .render import Rendering, render
from .scene import SPLIT_SIZES, Scene, SceneKnobs, make_scene

POPE_STRATEGIES = ("random", "popular", "adversarial")


def export_split(
    target: Path,
    split: str,
    *,
    count: int | None = None,
    suffix: str = "png",
    knobs: SceneKnobs | None = None,
    seed: int = 0,
) -> Path:
    """Writes one split into `target/split`; all of it or nothing.

    Holds `images/`, `instances.json`, `captions.json`, `pope/{random,popular,adversarial}.jsonl`
    and `mme/{existence,count,position,color}/` (an image and its two questions side by side).

    Args:
        target: Folder, made if absent.
        split: Which split.
        count: Number of scenes, from the first; all of them by default, 500 for `train`.
        suffix: "png" or "jpg".
        knobs: Other knobs than the split's own.
        seed: Seed of POPE's draws.

    Returns:
        The folder of the split.

    Raises:
        FileExistsError: If the split is there already.
    """
    if suffix not in ("png", "jpg"):
        raise ValueError(f"unknown image format {suffix!r}; there are png and jpg")
    final = target / split
    if final.exists():
        raise FileExistsError(f"{final} exists already; remove it or choose another folder")
    number = count if count is not None else SPLIT_SIZES[split] or 500
    scenes = [make_scene(split, index, knobs) for index in range(number)]
    target.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{split}-", dir=target))
    try:
        _write(partial, scenes, suffix, seed)
        partial.chmod(0o755)
        partial.rename(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return final


def _write(folder: Path, scenes: list[Scene], suffix: str, seed: int) -> None:
    images = folder / "images"
    images.mkdir()
    instances = instances_document(scenes, _drawn(scenes, images, suffix), suffix)
    _json(folder / "instances.json", instances)
    _json(folder / "captions.json", captions_document(scenes, suffix))
    (folder / "pope").mkdir()
    for strategy in POPE_STRATEGIES:
        lines = build_pope_questions(instances, strategy=strategy, seed=seed)
        _lines(folder / "pope" / f"{strategy}.jsonl", (json.dumps(line) for line in lines))
    for task in TASKS:
        place = folder / "mme" / task
        place.mkdir(parents=True)
        for scene in scenes:
            pair = mme_pair(scene, task)
            if pair is None:
                continue
            name = file_name(scene, suffix)
            shutil.copyfile(images / name, place / name)
            _lines(place / f"{Path(name).stem}.txt", (f"{pair[0]}\tYes", f"{pair[1]}\tNo"))


def _drawn(scenes: list[Scene], folder: Path, suffix: str) -> Iterable[Rendering]:
    """Draws the scenes one by one, saving each on the way."""
    options: dict[str, Any] = {"quality": 92} if suffix == "jpg" else {"compress_level": 4}
    for scene in scenes:
        drawn = render(scene)
        drawn.image.save(folder / file_name(scene, suffix), **options)
        yield drawn


def _json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")


def _lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
