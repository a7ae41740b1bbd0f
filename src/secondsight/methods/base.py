"""What a decoding method is: views of the sample, and how their logits combine."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from secondsight.errors import MethodError, nearest
from secondsight.methods.checks import Checking
from secondsight.methods.exits import Early, Exit
from secondsight.methods.searches import Retrospection
from secondsight.sample import Sample
from secondsight.views import Original, View


def parameter(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    loads: bool = False,
) -> Any:
    """A hyper-parameter of a method: its default, its meaning, and its range (ends included).

    Args:
        default: Its default.
        help: What it means, in a line.
        low: The least value.
        high: The greatest value.
        loads: Whether it names a model that is loaded; a server's clients may not set it.
    """
    meaning = {"help": help, "low": low, "high": high, "loads": loads}
    return dataclasses.field(default=default, metadata=meaning)


def plausibility(default: float | None) -> Any:
    """The hyper-parameter `beta`, given by keyword; None for a method without plausibility."""
    return dataclasses.field(
        default=default,
        kw_only=True,
        metadata={
            "help": "plausibility: tokens below this fraction of the best probability are dropped",
            "low": 0,
            "high": 1,
        },
    )


@dataclass(frozen=True)
class Method:
    """Base of all decoding methods: a frozen dataclass whose fields are hyper-parameters.

    A subclass defines `views` and `combine`; a method without plausibility sets ``beta=None``.

    Attributes:
        beta: The adaptive plausibility constraint (APC): tokens that the original view finds less
            likely than `beta` times its likeliest token get no chance.
    """

    name: ClassVar[str] = ""
    """The name that it is registered under."""

    source: ClassVar[str] = ""
    """The paper, as an arXiv number or a citation."""

    control: ClassVar[bool] = False
    """Whether it is a control: what a real method must beat."""

    control_of: ClassVar[str] = ""
    """The one method that it is a control of; empty for a control of all."""

    helper: ClassVar[str] = ""
    """Another model that it needs; such a method is not among those that are tried unasked."""

    beta: float | None = plausibility(0.1)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_range(self.name or type(self).__name__, field, getattr(self, field.name))

    def ask_first(self, sample: Sample) -> str | None:
        """What the model is asked before it answers; its reply is in `Sample.reply` for `views`.

        Args:
            sample: The sample, its images opened.

        Returns:
            A question about the same images; None for no question.
        """
        return None

    def views(self, sample: Sample) -> tuple[View, ...]:
        """The views that this method needs of a sample, the original first.

        Args:
            sample: The sample, its images opened; samples may need different views.
        """
        return (Original(),)

    def early_exits(self, depth: int, *, tied: bool = False) -> tuple[Exit, ...]:
        """What the method reads of earlier layers, while the original view is read.

        Args:
            depth: How many layers the model's decoder has.
            tied: Whether the head's weights are the embeddings, so that layer 0 says its input.

        Raises:
            MethodError: The model has not the layers that were asked for.
        """
        return ()

    def search(self) -> Retrospection | None:
        """The search that the method brings; None for one that takes any."""
        return None

    def checks(self) -> Checking | None:
        """What is done with an answer once it is written; None for nothing."""
        return None

    @property
    def writer(self) -> Method:
        """The method that writes the answer, without what is done with it then."""
        return self

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """Combine the views' next-token logits into scores, before plausibility.

        A method with early exits takes what they say as well, by the keyword `early`; see
        `ReadsExits`.

        Args:
            logits: float32 of shape (views, batch, vocabulary), the original view first.
            step: How many tokens have been generated, from 0.

        Returns:
            float32 scores of shape (batch, vocabulary).
        """
        return logits[0]

    def plausible(self, logits: torch.Tensor) -> torch.Tensor | None:
        """Which tokens keep a chance, judged on the original view's raw logits alone.

        Args:
            logits: float32 of shape (batch, vocabulary).

        Returns:
            bool of shape (batch, vocabulary), or None when every token does.
        """
        if not self.beta:
            return None
        cutoff = logits.amax(dim=-1, keepdim=True) + math.log(self.beta)
        return logits >= cutoff

    def needs_views(
        self, logits: torch.Tensor, plausible: torch.Tensor | None, step: int
    ) -> torch.Tensor:
        """For which samples other views, or early exits, can still change the outcome.

        Args:
            logits: The original view's logits, float32 of shape (batch, vocabulary).
            plausible: What `plausible` returned for them.
            step: How many tokens have been generated, from 0.

        Returns:
            bool of shape (batch,).
        """
        if plausible is None:
            return torch.ones(logits.shape[0], dtype=torch.bool, device=logits.device)
        return plausible.sum(dim=-1) > 1

    def alone(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """Scores of samples for which `needs_views` said no, before plausibility.

        Args:
            logits: The original view's logits, float32 of shape (batch, vocabulary).
            step: How many tokens have been generated, from 0.

        Returns:
            float32 scores of that shape, whose outcome is that of `combine`.
        """
        return logits

    def facts(
        self, logits: torch.Tensor, step: int, *, early: Early | None = None
    ) -> Mapping[str, Any]:
        """What the method decided for one token besides its scores, for the evidence.

        Args:
            logits: As for `combine`, of one sample.
            step: How many tokens have been generated, from 0.
            early: What the method's exits say of it.

        Returns:
            Plain data by name, ready for JSON.
        """
        return {}

    @property
    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def spec(self) -> str:
        """The method as text, such as ``ritual:alpha=2``, naming what differs from the defaults."""
        changed = [
            f"{field.name}={_as_text(getattr(self, field.name))}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        name = self.name or type(self).__name__
        return name + (":" + ",".join(changed) if changed else "")


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def _check_range(method: str, field: dataclasses.Field[Any], value: Any) -> None:
    if value is None and field.name == "beta":
        return
    if field.default is dataclasses.MISSING:
        return
    if isinstance(field.default, str):
        if not isinstance(value, str):
            raise MethodError(f"{method}: {field.name} must be text, not {value!r}.")
        return
    if isinstance(field.default, bool):
        if not isinstance(value, bool):
            raise MethodError(f"{method}: {field.name} must be True or False, not {value!r}.")
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MethodError(f"{method}: {field.name} must be a number, not {value!r}.")
    if isinstance(field.default, int) and not isinstance(value, int):
        raise MethodError(f"{method}: {field.name} must be a whole number, not {value!r}.")
    if not math.isfinite(value):
        raise MethodError(f"{method}: {field.name} must be a finite number, not {value}.")
    low, high = field.metadata.get("low"), field.metadata.get("high")
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"
        raise MethodError(f"{method}: {field.name} must be {bounds}, not {value:g}.")


def parse_value(method: type[Method], name: str, text: str) -> Any:
    """Read a hyper-parameter's value from text, as the type of its default.

    Raises:
        MethodError: The method has no such parameter, or the text is not of its type.
    """
    fields = {field.name: field for field in dataclasses.fields(method)}
    if name not in fields:
        known = nearest(name, fields) if fields else " It has none."
        raise MethodError(f"{method.name} has no parameter {name!r}.{known}")
    default = fields[name].default
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise MethodError(f"{method.name}: {name} must be true or false, not {text!r}.")
        return text.lower() == "true"
    if text.lower() == "none" and name == "beta":
        return None
    try:
        return int(text) if isinstance(default, int) else float(text)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise MethodError(f"{method.name}: {name} must be {kind}, not {text!r}.") from None
