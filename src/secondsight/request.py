"""A request: a sample, and how it is to be answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from secondsight.errors import UserError, shown
from secondsight.images import Images
from secondsight.methods import Method, create
from secondsight.methods.checks import Checking
from secondsight.sample import Sample, listed
from secondsight.settings import Settings, flag
from secondsight.sources import as_images


@dataclass(frozen=True)
class Request:
    """One question for a model.

    Attributes:
        sample: The question and its images.
        method: A decoding method, or its text form such as ``ritual:alpha=2``.
        settings: How the answer is generated.
        evidence: Whether to keep what speaks for every token.
        schedule: When the views are read: ``auto``, ``joint`` or ``lazy``; the answer does not
            depend on it.
        share_views: Whether what the views draw (RITUAL's transform, VCD's noise) depends on the
            images alone, so that all questions on them share the views.
        views: What the views after the original see, where the method is not to make them itself:
            an image for each, or a whole sample.
        doubts: Whether the model is asked about what its answer states; a list of names, or a text
            as `secondsight.objects.finding.finder` takes it, for other objects than COCO's.

    Raises:
        UserError: One of them is of another type. Whether the method and the schedule exist is
            found out when the request is prepared.
    """

    sample: Sample
    method: Method | str = "regular"
    settings: Settings = field(default_factory=Settings)
    evidence: bool = False
    schedule: str = "auto"
    share_views: bool = False
    views: tuple[Images | Sample, ...] = ()
    doubts: bool | str | Sequence[str] = False

    def __post_init__(self) -> None:
        if not isinstance(self.sample, Sample):
            raise UserError(f"A request's sample must be a Sample, not {shown(self.sample)}.")
        if not isinstance(self.settings, Settings):
            raise UserError(f"A request's settings must be Settings, not {shown(self.settings)}.")
        if not isinstance(self.schedule, str):
            raise UserError(f"A schedule is named by text, not {shown(self.schedule)}.")
        object.__setattr__(self, "evidence", flag("evidence", self.evidence))
        object.__setattr__(self, "share_views", flag("share_views", self.share_views))
        object.__setattr__(self, "views", as_views(self.views))
        if not isinstance(self.doubts, str):
            listing = listed(self.doubts)
            given = flag("doubts", self.doubts) if listing is None else tuple(listing)
            object.__setattr__(self, "doubts", given)

    @property
    def decoding(self) -> Method:
        """The method itself."""
        return create(self.method)

    @property
    def checking(self) -> Checking | None:
        """What is done with the answer once it is written; None for nothing."""
        asked = self.decoding.checks()
        if self.doubts is False:
            return asked
        objects = "" if self.doubts is True else self.doubts
        return (
            replace(asked, objects=objects or asked.objects) if asked else Checking(objects=objects)
        )


def as_views(views: Sequence[Images | Sample]) -> tuple[Images | Sample, ...]:
    """What is given for a method's views, as it can be opened more than once.

    Raises:
        UserError: It is no list, or one of them is no image.
    """
    given = listed(views)
    if given is None or isinstance(views, Image.Image):
        raise UserError(f"views is a list, an image or a Sample for each view; not {shown(views)}.")
    return tuple(one if isinstance(one, Sample) else as_images(one) for one in given)
