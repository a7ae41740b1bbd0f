"""Which objects come together: the world's habit that a language prior can learn."""

from __future__ import annotations

from types import MappingProxyType
from typing import Mapping

#: Places and the objects that belong there, the most usual first.
CONTEXTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "street": (
            "person", "car", "traffic light", "bus", "truck", "bicycle", "motorcycle",
            "stop sign", "parking meter", "fire hydrant", "handbag",
        ),
        "station": (
            "person", "train", "suitcase", "backpack", "airplane", "clock", "handbag", "tie",
            "cell phone", "umbrella",
        ),
        "kitchen": (
            "cup", "knife", "fork", "spoon", "bowl", "bottle", "sink", "wine glass", "apple",
            "orange", "carrot", "broccoli",
        ),
        "picnic": (
            "person", "sandwich", "banana", "cake", "apple", "pizza", "donut", "hot dog", "orange",
            "bottle", "cup", "wine glass",
        ),
        "living room": (
            "couch", "tv", "chair", "potted plant", "book", "vase", "clock", "cat", "dog",
        ),
        "bedroom": ("bed", "teddy bear", "book", "clock", "cat", "cell phone", "vase", "tie"),
        "bathroom": ("toilet", "sink", "toothbrush", "scissors", "bottle", "potted plant"),
        "office": (
            "laptop", "keyboard", "mouse", "chair", "cell phone", "book", "cup", "scissors",
            "clock", "tie",
        ),
        "farm": ("cow", "horse", "sheep", "dog", "bird", "cat", "truck", "person", "carrot"),
        "safari": ("elephant", "giraffe", "zebra", "bear", "bird", "backpack"),
        "sports ground": (
            "person", "sports ball", "baseball bat", "baseball glove", "tennis racket",
            "frisbee", "skateboard", "bottle", "bicycle",
        ),
        "ski slope": ("skis", "snowboard", "person", "backpack", "bear"),
        "beach": (
            "umbrella", "boat", "surfboard", "kite", "person", "bird", "frisbee", "sports ball",
            "dog",
        ),
    }
)

#: Objects that usually come as a pair: once the first is there, the second mostly is too.
PARTNERS: Mapping[str, str] = MappingProxyType(
    {
        "fork": "knife",
        "knife": "fork",
        "keyboard": "mouse",
        "mouse": "keyboard",
        "laptop": "cell phone",
        "baseball bat": "baseball glove",
        "baseball glove": "baseball bat",
        "tennis racket": "sports ball",
        "cup": "spoon",
        "wine glass": "bottle",
        "toilet": "toothbrush",
        "bed": "teddy bear",
        "teddy bear": "bed",
        "couch": "tv",
        "tv": "couch",
        "car": "traffic light",
        "traffic light": "car",
        "bicycle": "person",
        "skis": "snowboard",
        "cow": "sheep",
        "elephant": "giraffe",
        "giraffe": "elephant",
        "suitcase": "train",
        "surfboard": "kite",
        "cat": "dog",
        "vase": "potted plant",
        "hot dog": "pizza",
    }
)
