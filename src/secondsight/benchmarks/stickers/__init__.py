"""StickerScenes: a small world whose truth is known exactly.

Example:
    >>> scene = make_scene("test", 0)
    >>> image = render(scene).image
    >>> scene.categories
    ('backpack', 'skis', 'snowboard')
"""

from .annotations import captions_document, file_name, image_id, instances_document
from .captions import reference_captions
from .catalog import BY_NAME, CATEGORIES, COLOURS, Category, Icon
from .contexts import CONTEXTS, PARTNERS
from .export import export_split
from .questions import TASKS, mme_pair
from .render import Rendering, render
from .scene import (
    SPLIT_KNOBS,
    SPLIT_SIZES,
    Scene,
    SceneKnobs,
    SceneObject,
    make_scene,
)

__all__ = [
    "BY_NAME",
    "CATEGORIES",
    "COLOURS",
    "CONTEXTS",
    "PARTNERS",
    "SPLIT_KNOBS",
    "SPLIT_SIZES",
    "TASKS",
    "Category",
    "Icon",
    "Rendering",
    "Scene",
    "SceneKnobs",
    "SceneObject",
    "captions_document",
    "export_split",
    "file_name",
    "image_id",
    "instances_document",
    "make_scene",
    "mme_pair",
    "reference_captions",
    "render",
]
