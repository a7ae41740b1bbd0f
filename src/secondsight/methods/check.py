"""Check: the model is asked about what its answer states, and what it denies is repaired.

Ours, and nothing is trained: yes/no questions on an image that is already read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch

from secondsight.errors import MethodError, nearest
from secondsight.methods.base import Method, parameter, plausibility
from secondsight.methods.checks import DOUBTFUL, REPAIRS, Basis, Checking, RepairBy
from secondsight.methods.registry import register


@register("check")
@dataclass(frozen=True)
class Check(Method):
    """Ask the model about what it has stated, and repair what it denies.

    Attributes:
        basis: What a doubt goes by.
    """

    basis: ClassVar[Basis] = "asking"
    threshold: float = parameter(
        DOUBTFUL, "repair what is likelier than this to be made up", low=0, high=1
    )
    repair: str = parameter("rewrite", "rewrite, constrain, drop, or none to report doubts only")
    attempts: int = parameter(2, "rewritings of a sentence before it is cut", low=0, high=16)
    attributes: bool = parameter(True, "ask about numbers and colours, too")
    ask_views: bool = parameter(False, "ask the views of the method it is combined with, too")
    objects: str = parameter(
        "", "nouns, or a synonym file in CHAIR's format; empty: COCO's", loads=True
    )
    beta: float | None = plausibility(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.repair not in REPAIRS:
            raise MethodError(
                f"{self.name}: there is no repair {self.repair!r}.{nearest(self.repair, REPAIRS)}"
            )

    def checks(self) -> Checking:
        """What is done with the answer."""
        return Checking(
            self.threshold,
            cast(RepairBy, self.repair),
            self.attempts,
            self.basis,
            self.objects,
            self.attributes and self.basis == "asking",
            self.ask_views,
        )

    def needs_views(
        self, logits: torch.Tensor, plausible: torch.Tensor | None, step: int
    ) -> torch.Tensor:
        """Never: it has none."""
        return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)


@register("check-token")
@dataclass(frozen=True)
class CheckToken(Check):
    """Doubt names by the probability that they were written with; nothing is asked."""

    control: ClassVar[bool] = True
    control_of: ClassVar[str] = "check"
    basis: ClassVar[Basis] = "token"
    repair: str = parameter("drop", "rewrite, constrain, drop, or none to report doubts only")


@register("check-blank")
@dataclass(frozen=True)
class CheckBlank(Check):
    """Ask about a grey image: does the image matter?"""

    control: ClassVar[bool] = True
    control_of: ClassVar[str] = "check"
    basis: ClassVar[Basis] = "blank"
