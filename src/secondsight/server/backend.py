"""What the server needs of an engine: start an answer, hear of every token, cancel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from secondsight.answer import Answer
from secondsight.methods import Method
from secondsight.sample import Sample
from secondsight.settings import Settings


@dataclass(frozen=True)
class Generation:
    """One answer that is to be written.

    Attributes:
        sample: The question and its images, opened.
        method: How its views combine.
        settings: How it is generated.
        share_views: Whether what the views draw depends on the images alone.
        evidence: Whether to say what speaks for each token.
        top_logprobs: How many alternatives to each token to give; None for no log-probabilities.
        doubts: Whether to ask the model about what it has said.
    """

    sample: Sample
    method: Method
    settings: Settings
    share_views: bool = False
    evidence: bool = False
    top_logprobs: int | None = None
    doubts: bool = False

    @property
    def repaired(self) -> bool:
        """Whether what is written is not what is answered, token for token."""
        checking = self.method.checks()
        return checking is not None and checking.repair != "none"


@dataclass(frozen=True)
class Scored:
    """A token and its log-probability under the distribution that the answer was drawn from."""

    text: str
    data: bytes
    logprob: float


@dataclass(frozen=True)
class Token:
    """One token of an answer.

    Attributes:
        text: What became readable with it; nothing where it is part of a character or may yet
            be part of a stop string.
        scored: Its log-probability, if asked for.
        top: The likeliest tokens in its place, likeliest first.
        evidence: What speaks for it, ready for JSON, if asked for.
    """

    text: str
    scored: Scored | None = None
    top: tuple[Scored, ...] = ()
    evidence: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Ended:
    """An answer that is whole.

    Attributes:
        answer: The answer.
        prompt_tokens: Positions of its prompt, images included.
        image_tokens: Those that images take.
        rest: Text that no token's event carried.
        stop: The stop string that ended it, if one did.
    """

    answer: Answer
    prompt_tokens: int
    image_tokens: int
    rest: str = ""
    stop: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


OnToken = Callable[[Token], None]
OnEnd = Callable[[Ended | BaseException], None]
Cancel = Callable[[], None]
Stopped = Callable[[], bool]
"""Whether nobody wants it any more; asked often."""


@dataclass(frozen=True)
class Load:
    """How busy an engine is: answers being written, and their rows in the cache."""

    running: int = 0
    rows: int = 0
    waiting: int = 0


class Backend(Protocol):
    """Writes answers; its methods may be called from any thread."""

    def start(self, generation: Generation, on_token: OnToken, on_end: OnEnd) -> Cancel:
        """Start an answer.

        Args:
            generation: What to write.
            on_token: Called for every token, in a thread of the backend's.
            on_end: Called exactly once, with the answer or what prevented it; cancelled ones
                end too.

        Returns:
            What cancels it; may be called at any time and more than once.

        Raises:
            UserError: It cannot be answered.
        """
        ...

    def trace(
        self,
        generation: Generation,
        layers: str,
        *,
        attentions: bool,
        wanted: str,
        stopped: Stopped,
    ) -> str:
        """Answer, and record everything on the way; takes its time, in the calling thread.

        Args:
            generation: What to write.
            layers: Layers to record one by one.
            attentions: Whether to record attention.
            wanted: ``json``, ``html``, or ``attention`` for the maps alone, as JSON.
            stopped: Asked at every token and every layer; what it ends raises an exception.
        """
        ...

    def load(self) -> Load:
        """How busy it is."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """What an answer's provenance says about the model."""
        ...

    @property
    def context_length(self) -> int:
        """Positions for prompt and answer together."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it still works."""
        ...

    def close(self) -> None:
        """Stop; what still runs is cancelled."""
        ...
