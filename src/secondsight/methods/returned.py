"""What a method returned, checked: a slip in somebody's own method is said in its words."""

from __future__ import annotations

from typing import Any

import torch

from secondsight.errors import MethodError, shown
from secondsight.methods.base import Method
from secondsight.sample import Sample
from secondsight.views import View


def checked_views(method: Method, sample: Sample) -> tuple[View, ...]:
    """The views that a method wants of a sample.

    Raises:
        MethodError: They are no views, or none.
    """
    views: Any = method.views(sample)
    if not isinstance(views, tuple | list) or not views:
        raise _wrong(method, "views", "a tuple of views, the original first", views)
    for view in views:
        if isinstance(view, type) or not isinstance(view, View):
            raise _wrong(method, "views", "views, which have a name and apply", view)
    return tuple(views)


def checked_scores(method: Method, scores: Any, shape: torch.Size) -> torch.Tensor:
    """The scores that a method combined, of the shape (batch, vocabulary) that is asked for.

    Raises:
        MethodError: They are something else.
    """
    if not isinstance(scores, torch.Tensor):
        raise _wrong(method, "combine", f"scores of shape {tuple(shape)}", scores)
    if scores.shape != shape:
        raise _wrong(method, "combine", f"scores of shape {tuple(shape)}", tuple(scores.shape))
    return scores


def _wrong(method: Method, function: str, wanted: str, found: object) -> MethodError:
    name = method.name or type(method).__name__
    return MethodError(f"{name}: {function} must return {wanted}, and returned {shown(found)}.")
