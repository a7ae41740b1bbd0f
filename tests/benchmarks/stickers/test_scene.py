"""Scenes are pure functions, and what they promise holds."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secondsight.benchmarks.stickers import (
    BY_NAME,
    CATEGORIES,
    CONTEXTS,
    PARTNERS,
    SPLIT_KNOBS,
    SceneKnobs,
    make_scene,
    reference_captions,
    render,
)
from secondsight.benchmarks.stickers.catalog import ICONS
from support import process

SPLITS = ("train", "val", "test", "conflict", "hard")

DIGEST = """
import hashlib, json
from dataclasses import asdict
from secondsight.benchmarks.stickers import make_scene, reference_captions, render
total = hashlib.sha256()
for split in ("test", "hard"):
    for index in (0, 7, 499):
        scene = make_scene(split, index)
        total.update(json.dumps(asdict(scene)).encode())
        total.update(render(scene).image.tobytes())
        total.update(" ".join(reference_captions(scene)).encode())
print(total.hexdigest())
"""


def digest() -> str:
    total = hashlib.sha256()
    for split in ("test", "hard"):
        for index in (0, 7, 499):
            scene = make_scene(split, index)
            total.update(json.dumps(asdict(scene)).encode())
            total.update(render(scene).image.tobytes())
            total.update(" ".join(reference_captions(scene)).encode())
    return total.hexdigest()


def test_other_process_and_hash_seed_draw_the_same_bytes() -> None:
    done = process.run([sys.executable, "-c", DIGEST], env={"PYTHONHASHSEED": "12345"})
    assert done.stdout.strip() == digest(), done.stderr


def test_order_of_drawing_does_not_matter() -> None:
    render(make_scene("train", 3))
    first = render(make_scene("test", 5)).image.tobytes()
    for index in (9, 2):
        render(make_scene("conflict", index))
    assert render(make_scene("test", 5)).image.tobytes() == first


@pytest.mark.parametrize("split", SPLITS)
def test_annotations_agree_with_pixels(split: str) -> None:
    for index in range(12):
        scene = make_scene(split, index)
        drawn = render(scene)
        assert drawn.image.size == (scene.width, scene.height)
        assert drawn.owner.shape == (scene.height, scene.width)
        boxes = drawn.boxes()
        assert len(boxes) == len(scene.objects) > 0
        for number, (x, y, w, h) in enumerate(boxes, start=1):
            mask = drawn.owner == number
            assert mask.any(), "an object is fully covered"
            assert mask[y : y + h, x : x + w].sum() == mask.sum()
            assert x + w <= scene.width
            assert y + h <= scene.height


@pytest.mark.parametrize("split", ["test", "conflict", "hard"])
def test_every_object_stays_visible(split: str) -> None:
    """At least a fifth of what an object would show alone is seen, whatever lies over it."""
    from dataclasses import replace

    for index in range(0, 500, 25):
        scene = make_scene(split, index)
        owner = render(scene, 192).owner
        for number, item in enumerate(scene.objects, start=1):
            alone = render(replace(scene, objects=(item,)), 192).owner
            assert (owner == number).sum() >= 0.2 * (alone == 1).sum(), (index, item)


def test_splits_differ_and_sizes_hold() -> None:
    assert make_scene("val", 0) != make_scene("test", 0)
    with pytest.raises(IndexError, match="500"):
        make_scene("test", 500)
    with pytest.raises(ValueError, match="unknown split"):
        make_scene("nothing", 0)
    assert make_scene("train", 10**9).objects


def test_conflict_parts_partners_and_joins_strangers() -> None:
    for index in range(100):
        scene = make_scene("conflict", index)
        names = set(scene.categories)
        assert scene.context is None
        for name in names:
            assert PARTNERS.get(name) not in names
        for pool in CONTEXTS.values():
            assert len(names & set(pool)) <= 1


def test_usual_scenes_keep_partners_together() -> None:
    together = alone = 0
    for index in range(300):
        names = set(make_scene("train", index).categories)
        for name in names & set(PARTNERS):
            together += PARTNERS[name] in names
            alone += PARTNERS[name] not in names
    assert together > 0.4 * (together + alone)


@settings(max_examples=20, deadline=None)
@given(
    low=st.floats(0.06, 0.3),
    overlap=st.floats(0.0, 0.5),
    most=st.integers(1, 9),
    angle=st.floats(0.0, 90.0),
    index=st.integers(0, 10**6),
)
def test_any_knobs_give_a_valid_scene(
    low: float, overlap: float, most: int, angle: float, index: int
) -> None:
    knobs = SceneKnobs(objects=(1, most), scale=(low, low + 0.2), overlap=overlap, rotation=angle)
    scene = make_scene("train", index, knobs)
    assert scene == make_scene("train", index, knobs)
    assert len(scene.objects) <= max(most, 2)
    for item in scene.objects:
        assert item.category in BY_NAME
        assert all(0 < share < 1 for share in item.centre)
        assert low - 1e-9 <= item.size <= low + 0.2 + 1e-9


def test_catalogue_is_coco() -> None:
    assert len(CATEGORIES) >= 60
    assert BY_NAME["person"].id == 1
    assert BY_NAME["toothbrush"].id == 90
    assert len({c.id for c in CATEGORIES}) == len(CATEGORIES)
    used = [i.code for c in CATEGORIES for i in c.icons]
    assert len(used) == len(set(used)) == len(ICONS)
    for pool in CONTEXTS.values():
        assert set(pool) <= set(BY_NAME)
    assert {*PARTNERS, *PARTNERS.values()} <= set(BY_NAME)


def test_knobs_of_hard_are_harder() -> None:
    hard, usual = SPLIT_KNOBS["hard"], SPLIT_KNOBS["test"]
    assert hard.scale[1] < usual.scale[1]
    assert hard.overlap > usual.overlap
    assert hard.noise > usual.noise


@pytest.mark.slow
def test_five_hundred_scenes_take_less_than_twenty_seconds() -> None:
    import time

    start = time.process_time()
    for index in range(500):
        render(make_scene("test", index))
    assert time.process_time() - start < 20
