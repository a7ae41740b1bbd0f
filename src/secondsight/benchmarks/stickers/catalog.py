"""The objects of the sticker world: COCO names and ids, their images, their colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

#: Colour names and their sRGB values. "orange" is left out on purpose: it is also an object.
COLOURS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (214, 45, 48),
        "yellow": (246, 205, 45),
        "green": (58, 170, 78),
        "blue": (48, 110, 225),
        "purple": (140, 72, 200),
        "pink": (242, 130, 185),
        "brown": (128, 82, 50),
        "black": (48, 48, 54),
        "white": (240, 240, 242),
        "gray": (146, 147, 152),
    }
)


@dataclass(frozen=True)
class Icon:
    """One image of an object.

    Attributes:
        code: Unicode code point of the emoji in hexadecimal, which is also the file name.
        colour: The colour that it has by itself, where one word says it.
        tintable: Whether it may be painted in another colour.
    """

    code: str
    colour: str | None = None
    tintable: bool = False


@dataclass(frozen=True)
class Category:
    """One of COCO's object categories.

    Attributes:
        id: COCO's category id (1 to 90, with gaps).
        name: COCO's name.
        supercategory: COCO's supercategory.
        plural: The name in the plural.
        icons: Its images; every scene object shows one of them.
    """

    id: int
    name: str
    supercategory: str
    plural: str
    icons: tuple[Icon, ...]


def _icons(text: str) -> tuple[Icon, ...]:
    """Reads "code", "code:colour" and "code:colour*" (tintable), separated by blanks."""
    icons = []
    for word in text.split():
        code, _, colour = word.partition(":")
        icons.append(Icon(code, colour.rstrip("*") or None, colour.endswith("*")))
    return tuple(icons)


# id, name, supercategory, plural ("" adds an s), images.
# Four are stand-ins, because the emoji set has no better one: an extinguisher for the hydrant,
# a parking sign for the meter, a cricket bat for the baseball bat, a tap for the sink.
_ROWS: tuple[tuple[int, str, str, str, str], ...] = (
    (
        1,
        "person",
        "person",
        "people",
        "1f9cd 1f6b6 1f9d1 1f468 1f469 1f467 1f466 1f475 1f474 1f9cd-1f3fe 1f6b6-1f3fd 1f469-1f3fe "
        "1f468-1f3fd 1f3c3",
    ),
    (2, "bicycle", "vehicle", "", "1f6b2:red*"),
    (3, "car", "vehicle", "", "1f697:red* 1f698:red* 1f699:blue*"),
    (4, "motorcycle", "vehicle", "", "1f3cd:red* 1f6f5:red*"),
    (5, "airplane", "vehicle", "", "2708 1f6e9:red* 1f6eb"),
    (6, "bus", "vehicle", "buses", "1f68c:yellow* 1f68d:yellow* 1f68e"),
    (7, "train", "vehicle", "", "1f682 1f686 1f684 1f685 1f687"),
    (8, "truck", "vehicle", "", "1f69a:yellow* 1f69b:gray 1f6fb:red* 1f692:red"),
    (9, "boat", "vehicle", "", "26f5 1f6a4 1f6f6 1f6a2 1f6e5"),
    (10, "traffic light", "outdoor", "", "1f6a6:black 1f6a5:black"),
    (11, "fire hydrant", "outdoor", "", "1f9ef:red"),
    (13, "stop sign", "outdoor", "", "1f6d1:red"),
    (14, "parking meter", "outdoor", "", "1f17f:blue"),
    (16, "bird", "animal", "", "1f426:red* 1f99c:red 1f54a:white 1f989:brown 1f986"),
    (17, "cat", "animal", "", "1f408 1f431:yellow 1f408-200d-2b1b:black"),
    (18, "dog", "animal", "", "1f415 1f436 1f429:gray 1f9ae"),
    (19, "horse", "animal", "", "1f40e:brown 1f434:brown"),
    (20, "sheep", "animal", "sheep", "1f411:white 1f40f:white"),
    (21, "cow", "animal", "", "1f404 1f42e"),
    (22, "elephant", "animal", "", "1f418:gray"),
    (23, "bear", "animal", "", "1f43b:brown 1f43b-200d-2744:white"),
    (24, "zebra", "animal", "", "1f993"),
    (25, "giraffe", "animal", "", "1f992"),
    (27, "backpack", "accessory", "", "1f392:red*"),
    (28, "umbrella", "accessory", "", "2602:purple* 26f1 1f302:purple* 2614:purple*"),
    (31, "handbag", "accessory", "", "1f45c:brown* 1f45b:pink* 1f45d:pink*"),
    (32, "tie", "accessory", "", "1f454:blue*"),
    (33, "suitcase", "accessory", "", "1f9f3:blue*"),
    (34, "frisbee", "sports", "", "1f94f:blue*"),
    (35, "skis", "sports", "skis", "1f3bf"),
    (36, "snowboard", "sports", "", "1f3c2"),
    (37, "sports ball", "sports", "", "26bd 1f3c0 26be:white 1f3d0 1f3c8:brown"),
    (38, "kite", "sports", "", "1fa81"),
    (39, "baseball bat", "sports", "", "1f3cf"),
    (40, "baseball glove", "sports", "", "1f9e4:purple*"),
    (41, "skateboard", "sports", "", "1f6f9"),
    (42, "surfboard", "sports", "", "1f3c4"),
    (43, "tennis racket", "sports", "", "1f3be:pink 1f3f8:blue"),
    (44, "bottle", "kitchen", "", "1f37e:green* 1f37c 1f9f4:pink*"),
    (46, "wine glass", "kitchen", "wine glasses", "1f377"),
    (47, "cup", "kitchen", "", "2615:gray 1f375:white* 1f964:red*"),
    (48, "fork", "kitchen", "", "1f374:gray"),
    (49, "knife", "kitchen", "knives", "1f52a"),
    (50, "spoon", "kitchen", "", "1f944:gray*"),
    (51, "bowl", "kitchen", "", "1f963:blue* 1f35c:red* 1f957"),
    (52, "banana", "food", "", "1f34c:yellow"),
    (53, "apple", "food", "", "1f34e:red 1f34f:green"),
    (54, "sandwich", "food", "sandwiches", "1f96a"),
    (55, "orange", "food", "", "1f34a"),
    (56, "broccoli", "food", "broccoli", "1f966:green"),
    (57, "carrot", "food", "", "1f955"),
    (58, "hot dog", "food", "", "1f32d"),
    (59, "pizza", "food", "", "1f355:yellow"),
    (60, "donut", "food", "", "1f369:brown*"),
    (61, "cake", "food", "", "1f370 1f382 1f9c1"),
    (62, "chair", "furniture", "", "1fa91:brown*"),
    (63, "couch", "furniture", "couches", "1f6cb:blue*"),
    (64, "potted plant", "furniture", "", "1fab4:green"),
    (65, "bed", "furniture", "", "1f6cf:blue*"),
    (70, "toilet", "furniture", "", "1f6bd:white"),
    (72, "tv", "electronic", "", "1f4fa"),
    (73, "laptop", "electronic", "", "1f4bb"),
    (74, "mouse", "electronic", "mice", "1f5b1:white*"),
    (76, "keyboard", "electronic", "", "2328:white*"),
    (77, "cell phone", "electronic", "", "1f4f1 1f4f2"),
    (81, "sink", "appliance", "", "1f6b0:blue"),
    (84, "book", "indoor", "", "1f4d5:red* 1f4d7:green* 1f4d8:blue* 1f4d9 1f4d6"),
    (85, "clock", "indoor", "", "23f0:red* 1f570:brown 1f550"),
    (86, "vase", "indoor", "", "1f3fa:brown*"),
    (87, "scissors", "indoor", "scissors", "2702:red*"),
    (88, "teddy bear", "indoor", "", "1f9f8:brown*"),
    (90, "toothbrush", "indoor", "toothbrushes", "1faa5:red*"),
)

CATEGORIES: tuple[Category, ...] = tuple(
    Category(id_, name, group, plural or name + "s", _icons(icons))
    for id_, name, group, plural, icons in _ROWS
)
"""Every kind of thing that a scene may show, in the order of COCO's ids."""
BY_NAME: Mapping[str, Category] = MappingProxyType({c.name: c for c in CATEGORIES})
ICONS: Mapping[str, Icon] = MappingProxyType(
    {icon.code: icon for category in CATEGORIES for icon in category.icons}
)


def with_article(name: str) -> str:
    """The name with its indefinite article: "a dog", "an apple"."""
    return ("an " if name[0] in "aeiou" else "a ") + name
