"""Answers as OpenAI's clients read them, whole or in chunks."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from secondsight.methods.checks import Checking
from secondsight.server.backend import Ended, Generation, Scored, Token

_REASONS: Final = {"eos": "stop", "stop": "stop", "length": "length", "cancelled": "stop"}


@dataclass
class Choice:
    """One answer of a request, as far as it has come.

    Attributes:
        generation: What was asked for.
        texts: The pieces of text.
        pending: Tokens whose text is not readable yet.
        tokens: All tokens.
        ended: Its end.
    """

    generation: Generation
    texts: list[str] = field(default_factory=list)
    pending: list[Token] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    ended: Ended | None = None

    def add(self, token: Token) -> None:
        """Take note of a token."""
        self.texts.append(token.text)
        self.pending.append(token)
        self.tokens.append(token)

    @property
    def finish_reason(self) -> str | None:
        """Why it ended, in OpenAI's words."""
        return None if self.ended is None else _REASONS[self.ended.answer.finish_reason]


class Reply:
    """Writes a request's answers in OpenAI's form.

    Args:
        model: The model's name as it was asked for.
        served: The model's name without a method.
        fingerprint: Tells one model and version from others.
        choices: What was asked for, one for each answer.
    """

    def __init__(
        self, model: str, served: str, fingerprint: str, choices: Sequence[Generation]
    ) -> None:
        self.id = f"chatcmpl-{secrets.token_hex(12)}"
        self.created = int(time.time())
        self.model = model
        self.served = served
        self.fingerprint = fingerprint
        self.choices = [Choice(generation) for generation in choices]

    def whole(self) -> dict[str, Any]:
        """The whole answer, once all choices have ended."""
        return {
            **self._head("chat.completion"),
            "choices": [
                {
                    "index": number,
                    "message": {
                        "role": "assistant",
                        "content": _ended(choice).answer.text,
                        "refusal": None,
                    },
                    "finish_reason": choice.finish_reason,
                    "stop_reason": _ended(choice).stop,
                    "logprobs": _logprobs(choice.generation, choice.tokens),
                    "secondsight": self._facts(choice, choice.tokens),
                }
                for number, choice in enumerate(self.choices)
            ],
            "usage": self.usage(),
        }

    def opening(self, *, usage: bool) -> list[dict[str, Any]]:
        """The chunks that open a stream, one for each choice."""
        return [
            self._chunk(number, {"role": "assistant", "content": ""}, None, usage=usage)
            for number in range(len(self.choices))
        ]

    def piece(self, number: int, *, usage: bool) -> dict[str, Any] | None:
        """A chunk with what has become readable of a choice; None if nothing has."""
        choice = self.choices[number]
        text = "".join(token.text for token in choice.pending)
        if not text:
            return None
        chunk = self._chunk(number, {"content": text}, None, usage=usage)
        self._give_pending(choice, chunk)
        return chunk

    def closing(self, number: int, *, usage: bool) -> dict[str, Any]:
        """The last chunk of a choice."""
        choice = self.choices[number]
        ended = _ended(choice)
        rest = "".join(token.text for token in choice.pending) + ended.rest
        delta = {"content": rest} if rest else {}
        chunk = self._chunk(number, delta, choice.finish_reason, usage=usage)
        said = list(choice.pending)
        self._give_pending(choice, chunk)
        chunk["choices"][0]["stop_reason"] = ended.stop
        chunk["choices"][0]["secondsight"] = self._facts(choice, said)
        return chunk

    def usage_chunk(self) -> dict[str, Any]:
        """The chunk with the usage, after all choices."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage()}

    def usage(self) -> dict[str, Any]:
        """What was read and written; a prompt counts once, however many answers it got."""
        ended = [choice.ended for choice in self.choices if choice.ended is not None]
        prompt = max((one.prompt_tokens for one in ended), default=0)
        images = max((one.image_tokens for one in ended), default=0)
        written = sum(len(one.answer.ids) for one in ended)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt + written,
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "image_tokens": images,
                "text_tokens": prompt - images,
            },
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "service_tier": "default",
        }

    def _chunk(
        self, number: int, delta: dict[str, Any], reason: str | None, *, usage: bool
    ) -> dict[str, Any]:
        choice = {"index": number, "delta": delta, "logprobs": None, "finish_reason": reason}
        null = {"usage": None} if usage else {}
        return {**self._head("chat.completion.chunk"), "choices": [choice], **null}

    def _give_pending(self, choice: Choice, chunk: dict[str, Any]) -> None:
        given = chunk["choices"][0]
        given["logprobs"] = _logprobs(choice.generation, choice.pending)
        if choice.generation.evidence:
            given["secondsight"] = {"evidence": _evidence(choice.pending)}
        choice.pending.clear()

    def _facts(self, choice: Choice, tokens: Sequence[Token]) -> dict[str, Any]:
        ended = _ended(choice)
        method = choice.generation.method
        facts: dict[str, Any] = {
            "method": method.spec,
            "control": type(method).control,
            "finish_reason": ended.answer.finish_reason,
            "seed": choice.generation.settings.seed,
            "provenance": self._provenance(ended.answer.provenance),
            "timings": dict(ended.answer.timings),
            **ended.facts,
        }
        if choice.generation.evidence:
            facts["evidence"] = _evidence(tokens)
        if ended.answer.doubts is not None:
            facts.update(ended.answer.checked())
            facts["doubtful"] = (method.checks() or Checking()).threshold
        return facts

    def _provenance(self, provenance: Mapping[str, Any]) -> dict[str, Any]:
        """The provenance under the served name: where the model lies is nobody's business."""
        return {**provenance, "model": self.served} if "model" in provenance else {**provenance}


def _ended(choice: Choice) -> Ended:
    if choice.ended is None:
        raise RuntimeError("this choice has not ended")
    return choice.ended


def _logprobs(generation: Generation, tokens: Sequence[Token]) -> dict[str, Any] | None:
    if generation.top_logprobs is None:
        return None
    content = [
        {**_scored(token.scored), "top_logprobs": [_scored(one) for one in token.top]}
        for token in tokens
        if token.scored is not None
    ]
    return {"content": content, "refusal": None}


def _scored(one: Scored) -> dict[str, Any]:
    return {"token": one.text, "logprob": one.logprob, "bytes": list(one.data)}


def _evidence(tokens: Sequence[Token]) -> list[Mapping[str, Any]]:
    return [token.evidence for token in tokens if token.evidence is not None]
