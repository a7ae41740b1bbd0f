"""COCO-format ground truth: which objects each image shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secondsight.benchmarks.records import Problems, as_id
from secondsight.errors import DataError
from secondsight.files import PathLike, read_json
from secondsight.objects.lexicon import Lexicon, words_of
from secondsight.objects.mentions import find_mentions


@dataclass(frozen=True)
class GroundTruth:
    """What a COCO-format file says of its images.

    Attributes:
        objects: Image id (as text) to the names of the objects in it.
        files: Image id to the image's file name, where the file gives one.
        lexicon: The lexicon, with the file's own categories added.
    """

    objects: Mapping[str, frozenset[str]]
    files: Mapping[str, str]
    lexicon: Lexicon


def read_ground_truth(
    instances: PathLike,
    lexicon: Lexicon,
    problems: Problems,
    captions: PathLike | None = None,
) -> GroundTruth:
    """Objects per image from an instances file, and from reference captions when given.

    Args:
        instances: A COCO-format instances file; its categories may be any.
        lexicon: Names of objects; categories that it lacks are added under their own names.
        problems: Receives annotations that point nowhere.
        captions: A COCO captions file: what the references name counts as present too, as in
            CHAIR's procedure.

    Raises:
        DataError: If a file is unreadable or not in COCO format.
    """
    document = instances_document(instances)
    return ground_truth(document, lexicon, problems, source=str(instances), captions=captions)


def instances_document(path: PathLike) -> Mapping[str, Any]:
    """A COCO-format instances file as it stands.

    Raises:
        DataError: If it is unreadable or not in COCO format.
    """
    return _document(path, ("images", "annotations", "categories"))


def ground_truth(
    document: Mapping[str, Any],
    lexicon: Lexicon,
    problems: Problems,
    *,
    source: str = "instances",
    captions: PathLike | None = None,
) -> GroundTruth:
    """As `read_ground_truth`, from an instances document in memory."""
    try:
        names = {category["id"]: str(category["name"]) for category in document["categories"]}
        images = {str(image["id"]): image.get("file_name") for image in document["images"]}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{source}: not in COCO's instances format ({error!r})") from None
    lexicon = lexicon.including(" ".join(words_of(name)) for name in names.values())
    objects: dict[str, set[str]] = {image: set() for image in images}
    for index, annotation in enumerate(document["annotations"]):
        try:
            image, category = str(annotation["image_id"]), annotation["category_id"]
            name = names[category]
        except (KeyError, TypeError, ValueError) as error:
            problems.add("bad annotation", f"{source}: annotation {index}: no such {error}")
            continue
        if image not in objects:
            problems.add(
                "bad annotation", f"{source}: annotation {index}: image {image} is not listed"
            )
            continue
        named = lexicon.object_named(name)
        if named is not None:
            objects[image].add(named)
    if captions is not None:
        _add_captions(objects, captions, lexicon, problems)
    return GroundTruth(
        {image: frozenset(found) for image, found in objects.items()},
        {image: str(file) for image, file in images.items() if file},
        lexicon,
    )


def _document(path: PathLike, keys: tuple[str, ...]) -> Mapping[str, Any]:
    document = read_json(path)
    lacking = [
        key
        for key in keys
        if not isinstance(document, dict) or not isinstance(document.get(key), list)
    ]
    if lacking:
        raise DataError(f"{path}: not in COCO format: no list {', '.join(map(repr, lacking))}")
    checked: Mapping[str, Any] = document
    return checked


def _add_captions(
    objects: dict[str, set[str]], captions: PathLike, lexicon: Lexicon, problems: Problems
) -> None:
    document = _document(captions, ("annotations",))
    for index, annotation in enumerate(document["annotations"]):
        image = as_id(annotation.get("image_id")) if isinstance(annotation, dict) else None
        text = annotation.get("caption") if isinstance(annotation, dict) else None
        if image is None or not isinstance(text, str):
            problems.add(
                "bad annotation", f"{captions}: annotation {index}: no image_id and caption"
            )
            continue
        # COCO's captions cover more images than an instances file of a subset: others are no error.
        if image in objects:
            objects[image].update(mention.object for mention in find_mentions(text, lexicon))
