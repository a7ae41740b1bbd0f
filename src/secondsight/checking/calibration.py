"""From what speaks against a name to the probability that it is made up: a logistic function.

    p = 1 / (1 + exp(-(bias + refusal * logit(p(no)) + views * logit(mean of p(no) on the views)
                       + token * log p(name))))

Four numbers, fitted on scenes whose truth is known and kept as a small JSON file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secondsight.errors import DataError
from secondsight.extras import needed
from secondsight.files import PathLike, read_text

FILE: Final = "doubts.json"
"""The file of a checkpoint that has them."""

KINDS: Final = ("object", "count", "colour", "token", "blank")
"""What has a calibration of its own."""

_EDGE: Final = 1e-6
"""Probabilities are kept this far from 0 and 1 before logarithms are taken."""
_RIDGE: Final = 1e-2
"""Penalty on squared weights: keeps them finite where the classes can be told apart perfectly."""


@dataclass(frozen=True)
class Signals:
    """What speaks for and against one statement.

    Attributes:
        refusal: p(no) on the original view; None where nothing is asked.
        views: The mean of p(no) on the method's other views; None where there are none.
        token: The probability with which it was written: the product over its tokens; None where
            it is not known.
    """

    refusal: float | None = None
    views: float | None = None
    token: float | None = None

    @property
    def features(self) -> tuple[float, float, float]:
        """The numbers that the weights apply to; 0 for what is unknown."""
        return (
            0.0 if self.refusal is None else _logit(self.refusal),
            0.0 if self.views is None else _logit(self.views),
            0.0 if self.token is None else math.log(max(self.token, _EDGE)),
        )


@dataclass(frozen=True)
class Calibration:
    """The weights of the logistic function in this module's docstring.

    Attributes:
        bias: The constant.
        refusal: Weight of the model's no on the original view.
        views: Weight of its no on the other views.
        token: Weight of the name's own log-probability.
    """

    bias: float
    refusal: float
    views: float = 0.0
    token: float = 0.0

    def __call__(self, signals: Signals) -> float:
        """The probability that a name is made up."""
        weights = (self.refusal, self.views, self.token)
        pairs = zip(weights, signals.features, strict=True)
        return _sigmoid(self.bias + sum(weight * value for weight, value in pairs))


@dataclass(frozen=True)
class Calibrations:
    """The calibrations of one model, by what is doubted, or by the control that doubts.

    Attributes:
        by_kind: For ``object``, ``count``, ``colour``, and the controls ``token`` and ``blank``.
    """

    by_kind: Mapping[str, Calibration] = field(default_factory=dict)

    def get(self, kind: str) -> Calibration | None:
        """That of a kind; None where there is none, and p(no) is reported as it is."""
        return self.by_kind.get(kind)

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Plain data, ready for JSON."""
        return {kind: asdict(one) for kind, one in self.by_kind.items()}

    @property
    def digest(self) -> str:
        """SHA-256 of what they are, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def write(self, path: PathLike) -> None:
        """Write them as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: PathLike) -> Calibrations:
        """Read what `write` wrote.

        Raises:
            DataError: The file is missing, or holds no calibrations.
        """
        try:
            given = json.loads(read_text(path))
            made = {
                kind: Calibration(**{name: float(value) for name, value in weights.items()})
                for kind, weights in given.items()
            }
            if not made:
                raise ValueError("it is empty")
        except (ValueError, TypeError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{path}: holds no calibrations: by kind (object, count, colour, token, blank) it "
                "must have the numbers bias, refusal, views and token."
            ) from error
        strange = sorted(made.keys() - set(KINDS))
        if strange:
            raise DataError(
                f"{path}: there are no doubts of kind {strange[0]!r}. They are: {', '.join(KINDS)}."
            )
        weights = [value for one in made.values() for value in asdict(one).values()]
        if not all(math.isfinite(value) for value in weights):
            raise DataError(f"{path}: a calibration's weights must be finite numbers.")
        return cls(made)


def fit(signals: Sequence[Signals], made_up: Sequence[bool]) -> Calibration:
    """The weights under which the truth is likeliest, with a small penalty on large ones.

    Args:
        signals: What was found for each name.
        made_up: Whether it was made up.

    Raises:
        DataError: There are not both made-up and true names.
    """
    if len(set(made_up)) < 2:
        raise DataError("A calibration needs both names that are made up and names that are not.")
    with needed("eval", "Calibrating doubts"):
        from scipy.optimize import minimize
    given = np.array([(1.0, *one.features) for one in signals])
    truth = np.array(made_up, dtype=float)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = given @ weights
        penalty = np.concatenate(([0.0], _RIDGE * weights[1:]))
        gradient = given.T @ (1 / (1 + np.exp(-scores)) - truth) + penalty
        value = np.logaddexp(0, scores).sum() - truth @ scores + 0.5 * penalty @ weights
        return float(value), gradient

    found = minimize(loss, np.zeros(given.shape[1]), jac=True, method="L-BFGS-B").x
    return Calibration(*map(float, found))


def _logit(probability: float) -> float:
    inside = min(max(probability, _EDGE), 1 - _EDGE)
    return math.log(inside / (1 - inside))


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
