"""Several methods at once, by one rule: what each adds to the base view's logits is added up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Final, cast

import torch

from secondsight.errors import MethodError
from secondsight.methods.base import Method, plausibility
from secondsight.methods.checks import Checking
from secondsight.methods.exits import Early, EarlyExit, Exit, ReadsExits
from secondsight.methods.searches import Retrospection
from secondsight.sample import Sample
from secondsight.views import Original, View, draws

_DEPTH: Final = 64
"""A depth at which layers are looked up before there is a model."""


@dataclass(frozen=True)
class Combination(Method):
    """Methods combined: ``s = l + sum of (s_X - l)`` over the methods X, `l` the base's logits.

    Each method scores its own views. A token is plausible where it is to all of them; the views
    are needed where one of them needs its own. Views that draw nothing are read once.

    Attributes:
        parts: The methods, none of them a combination.

    Raises:
        MethodError: Two of them do not go together.
    """

    parts: tuple[Method, ...] = ()
    beta: float | None = plausibility(None)
    _own: list[list[int]] = field(default_factory=list, init=False, repr=False, compare=False)
    _exits: dict[tuple[Exit, ...], list[int]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", "+".join(part.name for part in self.parts))
        for one, other in combinations(self.parts, 2):
            _refuse_twice(one, other)
            if _asks(one) and _asks(other):
                raise _apart(one, other, "both ask the model a question of their own first")
            if one.checks() and other.checks():
                raise _apart(one, other, "both check the answer")
            if one.search() and other.search():
                raise _apart(one, other, "both search for the answer in a way of their own")
            if _reads_layers(one, _DEPTH) and _reads_layers(other, _DEPTH):
                raise _apart(one, other, _SAME_LAYERS)
        self._own.extend(self._laid_out(Sample(None, ""))[1])

    @property
    def helper(self) -> str:  # type: ignore[override]
        """The models that the parts need."""
        return ", ".join(filter(None, (part.helper for part in self.parts)))

    @property
    def source(self) -> str:  # type: ignore[override]
        """The parts' papers."""
        return ", ".join(filter(None, (part.source for part in self.parts)))

    @property
    def parameters(self) -> dict[str, Any]:
        """The parts' hyper-parameters, such as ``vcd.alpha``."""
        return {
            f"{part.name}.{key}": value
            for part in self.parts
            for key, value in part.parameters.items()
        }

    @property
    def spec(self) -> str:
        """The parts' texts with ``+`` between them."""
        return "+".join(part.spec for part in self.parts)

    def ask_first(self, sample: Sample) -> str | None:
        """The question of the one part that asks."""
        asked = (part.ask_first(sample) for part in self.parts)
        return next((question for question in asked if question is not None), None)

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The base, then what each part wants beyond it.

        Raises:
            MethodError: A part wants other numbers of views from sample to sample.
        """
        views, places = self._laid_out(sample)
        if places != self._own:
            raise MethodError(
                f"{self.name}: one of them wants another number of views from sample to sample, "
                "which cannot be combined."
            )
        return tuple(views)

    def early_exits(self, depth: int, *, tied: bool = False) -> tuple[Exit, ...]:
        """Those of all parts.

        Raises:
            MethodError: Two parts read earlier layers.
        """
        of_parts = [part.early_exits(depth, tied=tied) for part in self.parts]
        reading = [part for part in self.parts if _reads_layers(part, depth)]
        if len(reading) > 1:
            raise _apart(reading[0], reading[1], _SAME_LAYERS)
        exits = tuple(one for part in of_parts for one in part)
        self._exits[exits] = [len(part) for part in of_parts]
        return exits

    def search(self) -> Retrospection | None:
        """That of the one part that searches."""
        return next((found for part in self.parts if (found := part.search())), None)

    def checks(self) -> Checking | None:
        """That of the one part that checks."""
        return next((found for part in self.parts if (found := part.checks())), None)

    @property
    def writer(self) -> Method:
        """The parts that write, without the one that checks."""
        parts = tuple(part for part in self.parts if part.checks() is None)
        return parts[0] if len(parts) == 1 else replace(self, parts=parts)

    def combine(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> torch.Tensor:
        """``s_A + (s_B - l) + ...``."""
        scores: torch.Tensor | None = None
        for part, own, said in self._split(logits, early):
            if said is None:
                found = part.combine(own, step)
            else:
                found = cast(ReadsExits, part).combine(own, step, early=said)
            scores = found if scores is None else _added(scores, found, logits[0])
        assert scores is not None, "a combination has parts"
        return scores

    def plausible(self, logits: torch.Tensor) -> torch.Tensor | None:
        """What is plausible to all parts; to the first, where nothing is."""
        masks = [mask for part in self.parts if (mask := part.plausible(logits)) is not None]
        if not masks:
            return None
        both = torch.stack(masks).all(dim=0)
        return both | (~both.any(dim=-1, keepdim=True) & masks[0])

    def needs_views(
        self, logits: torch.Tensor, plausible: torch.Tensor | None, step: int
    ) -> torch.Tensor:
        """Where a part needs its own."""
        needs = [part.needs_views(logits, plausible, step) for part in self.parts]
        return torch.stack(needs).any(dim=0)

    def alone(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """The same sum, of what each part says of the base's logits."""
        scores = self.parts[0].alone(logits, step)
        for part in self.parts[1:]:
            scores = _added(scores, part.alone(logits, step), logits)
        return scores

    def facts(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> Mapping[str, Any]:
        """The parts' facts; by the part's name where two call something the same."""
        found: dict[str, Any] = {}
        for part, own, said in self._split(logits, early):
            facts = part.facts(own, step, early=said)
            found |= {
                key if key not in found else f"{part.name}.{key}": facts[key] for key in facts
            }
        return found

    def _split(
        self, logits: torch.Tensor, early: Early | None
    ) -> Iterable[tuple[Method, torch.Tensor, Early | None]]:
        """Each part with the logits of its own views and what its own exits say."""
        counts = [0] * len(self.parts) if early is None else self._exits[early.exits]
        start = 0
        for part, places, count in zip(self.parts, self._own, counts, strict=True):
            own = logits if len(places) == len(logits) else logits[places]
            said = early.part(start, start + count) if early is not None and count else None
            yield part, own, said
            start += count

    def _laid_out(self, sample: Sample) -> tuple[list[View], list[list[int]]]:
        """All views, and for each part the places of its own."""
        wanted = [part.views(sample) for part in self.parts]
        views: list[View] = [self._base([own[0] for own in wanted])]
        places = []
        for own in wanted:
            mine = [0]
            for view in own[1:]:
                known = None if draws(view) else _index(views, view)
                if known is None or known in mine:
                    known = len(views)
                    views.append(view)
                mine.append(known)
            places.append(mine)
        watching = [
            part
            for part, own in zip(self.parts, wanted, strict=True)
            if part.search() is not None or any(hasattr(view, "probe") for view in own)
        ]
        if len(watching) > 1:
            raise _apart(watching[0], watching[1], "both go by the attention of the base view")
        editing = [part for part, own in zip(self.parts, wanted, strict=True) if _edits(own[0])]
        if watching and editing and watching[0] is not editing[0]:
            raise _apart(editing[0], watching[0], "one edits the attention that the other goes by")
        return views, places

    def _base(self, bases: Sequence[View]) -> View:
        edited = [place for place, view in enumerate(bases) if _edits(view)]
        if len(edited) > 1:
            one, other = (self.parts[place] for place in edited[:2])
            raise _apart(one, other, "both change how the model reads the image itself")
        return bases[edited[0]] if edited else bases[0]


_SAME_LAYERS: Final = "one takes away what earlier layers say, the other goes by it as well"


def _added(scores: torch.Tensor, more: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """Add what a method makes of the base; a token that is out for the base stays so."""
    return torch.where(base.isfinite(), scores + (more - base), base)


def _apart(one: Method, other: Method, why: str) -> MethodError:
    return MethodError(f"{one.name} and {other.name} cannot be combined: {why}.")


def _refuse_twice(one: Method, other: Method) -> None:
    twice = {*one.name.split("+")} & {*other.name.split("+")} - {""}
    if twice:
        raise MethodError(f"{min(twice)} cannot be combined with itself: raise its weight instead.")


def _asks(method: Method) -> bool:
    return type(method).ask_first is not Method.ask_first


def _reads_layers(method: Method, depth: int) -> bool:
    """Whether it reads what earlier layers would have said."""
    try:
        return any(isinstance(one, EarlyExit) for one in method.early_exits(depth))
    except MethodError:  # another depth than this model's: said when it is known
        return False


def _edits(view: View) -> bool:
    return not isinstance(view, Original)


def _index(views: Sequence[View], view: View) -> int | None:
    return next((place for place, one in enumerate(views) if one == view), None)
