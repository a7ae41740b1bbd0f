"""What a method has done with an answer that it has written; `secondsight.inference` does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

RepairBy = Literal["rewrite", "drop", "constrain", "none"]
Basis = Literal["asking", "token", "blank"]

REPAIRS: Final = ("rewrite", "drop", "constrain", "none")


DOUBTFUL: Final = 0.3
"""What is likelier than this to be made up is doubtful, where nothing else is said: on the bundled
model's validation scenes the lowest tenth at which captions lose less than two points of recall."""


@dataclass(frozen=True)
class Checking:
    """Asking the model about what its answer states, and repairing what it then denies.

    Attributes:
        threshold: What is likelier than this to be made up is repaired.
        repair: ``rewrite``: a sentence is written again, and what follows, without the doubted
            names; ``constrain``: from the doubtful word on; ``drop``: cut out of the text;
            ``none``: only reported. Doubted numbers and colours are cut under ``rewrite``, too.
        attempts: How often a sentence is rewritten before what is doubtful in it is dropped.
        basis: What a doubt goes by: ``asking`` the model; of the controls, the ``token``'s own
            probability, or asking about a ``blank`` image.
        objects: Whose names are looked for; see `secondsight.objects.finding.finder`.
        attributes: Whether numbers and colours are asked about as well.
        views: Whether the views of the method that writes are asked as well.
    """

    threshold: float = DOUBTFUL
    repair: RepairBy = "none"
    attempts: int = 2
    basis: Basis = "asking"
    objects: str | Sequence[str] = ""
    attributes: bool = True
    views: bool = False
