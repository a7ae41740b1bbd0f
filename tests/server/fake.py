"""An engine that writes words by rote, in a thread of its own: everything but the model."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from secondsight import Answer, ImageError
from secondsight.server.backend import (
    Cancel,
    Ended,
    Generation,
    Load,
    OnEnd,
    OnToken,
    Scored,
    Token,
)

PROMPT_TOKENS, IMAGE_TOKENS = 30, 16


def words_of(generation: Generation) -> list[str]:
    """What the engine says: the question's words in turn, after the method and seed."""
    said = [generation.method.spec, f"seed{generation.settings.seed}"]
    said += [f"images{len(generation.sample.images)}"]
    said += generation.sample.question.split()
    count = generation.settings.max_new_tokens
    return [word if place == 0 else f" {word}" for place, word in enumerate(said[:count])]


def evidence_for(generation: Generation, word: str, token: int) -> dict[str, Any]:
    """What speaks for a word: as the real engine's, with figures by rote."""
    views = [view.name for view in generation.method.views(generation.sample)]
    top = [{"id": token, "token": word, "probability": 0.75}]
    top.append({"id": 99, "token": " other", "probability": 0.2})
    changed = len(views) > 1 and word.strip() == "two"
    return {
        "id": token,
        "token": word,
        "probability": 0.75,
        "top": top,
        "plausible": 3 if len(views) > 1 else None,
        "regular": {"id": 99 if changed else token, "token": " other" if changed else word},
        "changed": changed,
        "views": [
            {"view": view, "probability": 0.75 - place / 4, "top": top}
            for place, view in enumerate(views)
        ],
    }


def attention_for(generation: Generation) -> dict[str, Any]:
    """Maps of 2 x 3 patches, of two layers and two heads, for every word."""
    tokens = words_of(generation)
    names = [view.name for view in generation.method.views(generation.sample)]

    def maps(kinds: int) -> dict[str, Any]:
        values = bytes(range(6)) * kinds * len(tokens)
        return {
            "shape": [kinds, len(tokens), 6],
            "peaks": [0.5] * kinds * len(tokens),
            "uint8_base64": base64.b64encode(values).decode(),
        }

    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    return {
        "tokens": [{"id": n, "text": word} for n, word in enumerate(tokens)],
        "attention": [
            {
                "view": name,
                "grid": [2, 3],
                "mean": [[0.1 * n] * 6 for n in range(len(tokens))],
                "layers": maps(2),
                "heads": {"0": maps(2), "1": maps(2)},
            }
            for name in names
        ],
        "views": [
            {"view": name, "choice": None if place == 0 else "x", "images": [{"uri": pixel}]}
            for place, name in enumerate(names)
        ],
        "notes": [],
    }


class FakeBackend:
    """Steps all answers in turn, a word each.

    Args:
        pause: Seconds that a step takes.
        fail: Raises for answers that are to fail while they are written.
        facts: What is said of every answer besides.
    """

    context_length = 512

    def __init__(
        self,
        *,
        pause: float = 0.0,
        fail: Callable[[Generation], None] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.pause = pause
        self.said = facts or {}
        self.fail = fail
        self.steps = 0
        self.most = 0
        self.written: list[int] = []
        self.cancelled = 0
        self.started: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        self._jobs: list[
            tuple[Generation, Iterator[str], list[int], OnToken, OnEnd, list[bool]]
        ] = []
        self._wake = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def start(self, generation: Generation, on_token: OnToken, on_end: OnEnd) -> Cancel:
        if generation.sample.question == "refuse":
            raise ImageError("This one cannot be answered.")
        stopped: list[bool] = []
        self.started.append(generation.sample.question)
        with self._wake:
            self._jobs.append(
                (generation, iter(words_of(generation)), [], on_token, on_end, stopped)
            )
            self.most = max(self.most, len(self._jobs))
            self._wake.notify()

        def cancel() -> None:
            stopped.append(True)

        return cancel

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._jobs or not self._open)
                if not self._open:
                    break
                jobs = list(self._jobs)
            self.hold.wait()
            self.steps += 1
            time.sleep(self.pause)
            for job in jobs:
                end = self._step(*job)
                if end is not None:
                    with self._wake:
                        self._jobs.remove(job)
                    end()  # whoever hears of it may start the next one at once
        for _, _, _, _, on_end, _ in self._jobs:
            on_end(RuntimeError("closed"))

    def _step(
        self,
        generation: Generation,
        words: Iterator[str],
        ids: list[int],
        on_token: OnToken,
        on_end: OnEnd,
        stopped: list[bool],
    ) -> Callable[[], None] | None:
        """One word of one answer; what is to be done where it ended."""
        if stopped:
            self.cancelled += 1
            self.written.append(len(ids))
            return partial(on_end, self._ended(generation, ids, "cancelled"))
        try:
            if self.fail is not None:
                self.fail(generation)
        except Exception as error:
            return partial(on_end, error)
        word = next(words, None)
        if word is None:
            self.written.append(len(ids))
            limit = generation.settings.max_new_tokens
            reason = "length" if len(ids) == limit else "eos"
            return partial(on_end, self._ended(generation, ids, reason))
        ids.append(len(ids))
        scored = None
        top: tuple[Scored, ...] = ()
        if generation.top_logprobs is not None:
            scored = Scored(word, word.encode(), -0.5)
            top = (scored, Scored("x", b"x", -1.5))[: generation.top_logprobs]
        evidence = evidence_for(generation, word, ids[-1]) if generation.evidence else None
        on_token(Token(word, scored, top, evidence))
        return None

    def _ended(self, generation: Generation, ids: list[int], reason: Any) -> Ended:
        text = "".join(words_of(generation)[: len(ids)])
        provenance = {"model": "/secret/folder/of/the/model", "seed": generation.settings.seed}
        answer = Answer(text, tuple(ids), reason, {"generate": 0.0}, provenance)
        images = IMAGE_TOKENS * len(generation.sample.images)
        return Ended(answer, PROMPT_TOKENS + images, images, facts=self.said)

    def trace(
        self,
        generation: Generation,
        layers: str,
        *,
        attentions: bool,
        wanted: str,
        stopped: Callable[[], bool],
    ) -> str:
        if wanted != "attention":
            return "<html>" if wanted == "html" else f'{{"layers": "{layers}"}}'
        return json.dumps(attention_for(generation))

    def load(self) -> Load:
        return Load(running=len(self._jobs))

    def facts(self) -> Mapping[str, Any]:
        return {"model": "/secret/folder/of/the/model", "dtype": "float32", "device": "cpu"}

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        with self._wake:
            self._open = False
            self._wake.notify()
        self.hold.set()
