"""An answer that is checked: what it states is asked about, and repaired where it is denied.

A draft is written; what it states is asked; the first sentence with a doubtful statement is written
again or cut, and so on. All decisions go from sentence to sentence, so that it makes no difference
whether questions are asked while the draft is written (somebody listens) or all at its end.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from secondsight.answer import Answer, Doubt, Repair, TokenUpdate
from secondsight.checking.bans import Ban, bans_of
from secondsight.checking.calibration import Calibrations
from secondsight.checking.claims import Claim, claims_in, ends_of, first_token
from secondsight.checking.dropping import Span, drop
from secondsight.checking.judging import judge
from secondsight.decoding.sampling import Sampler
from secondsight.decoding.step import Observer
from secondsight.inference.asking import Asker, blank
from secondsight.inference.backbone import Backbone
from secondsight.inference.continuing import Continuation, ContinuingSampler
from secondsight.inference.prepare import PreparedRequest
from secondsight.inference.runner import Runner
from secondsight.inference.streaming import read
from secondsight.inference.ticket import DirectTicket, Listener, Ticket
from secondsight.methods.checks import Checking
from secondsight.objects.finding import finder
from secondsight.objects.mentions import sentences

_Doubted = tuple[Claim, Doubt]

_WORD: Final = re.compile(r"\s*\S+|\s+")

_TAKEN_BACK: Final = 32
"""Names that ``constrain`` takes back in one sentence before it cuts what is doubtful."""


class CheckedTicket(Ticket):
    """A request whose answer is checked.

    Args:
        backbone: The model.
        runner: Runs its engine.
        asked: The prepared request.
        checking: What is done with the answer.
        calibrations: Turn what the model says into probabilities.
        listener: Told of every checked sentence; of every token where nothing is repaired.
        observer: Told of every step of every draft.
    """

    def __init__(
        self,
        backbone: Backbone,
        runner: Runner,
        asked: PreparedRequest,
        checking: Checking,
        calibrations: Calibrations,
        *,
        listener: Listener | None = None,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(backbone, runner, asked)
        self._checking, self._calibrations = checking, calibrations
        self._listener, self._observer = listener, observer
        self._repairs_it = checking.repair != "none"
        self._asks_meanwhile = self._repairs_it and (
            listener is not None or checking.repair == "constrain"
        )
        self._finder = finder(checking.objects)
        self._read = partial(read, backbone.tokenizer)
        self._start = time.perf_counter()
        self._first: float | None = None
        self._lock = threading.RLock()  # a draft may be heard of before it is known here
        self._asker = self._asking()
        # What is decided: so many sentences, what of them is cut, what may not be written.
        self._settled = self._tries = 0
        self._kept: dict[tuple[int, str], Doubt] = {}
        self._cut: list[Span] = []
        self._plain: list[Span] = []
        self._gone: set[str] = set()
        self._bans: list[Ban] = []
        self._bans_at: dict[int, tuple[Ban, ...]] = {}
        self._repairs: list[Repair] = []
        self._shown, self._told = "", 0
        self._cancelled = False
        # The draft that is being written.
        self._number = 0
        self._ids: list[int] = []
        self._text = ""
        self._ends: list[int] = []
        self._ended: Answer | None = None
        self._sampler: ContinuingSampler | None = None
        self._draft: Ticket
        with self._lock:
            self._write(Continuation())

    def cancel(self) -> None:
        """See `Ticket.cancel`; of a checked answer only checked sentences are kept."""
        with self._lock:
            if self.done or self._cancelled:
                return
            self._cancelled = True
            if self._asker is not None:
                self._asker.cancel()
            if self._ended is None:
                self._draft.cancel()
            else:
                self._guarded(self._finish)

    def _asking(self) -> Asker | None:
        if self._checking.basis == "token":
            return None
        seen = self.asked.seen if self._checking.views else self.asked.seen[:1]
        if self._checking.basis == "blank":
            seen = tuple(map(blank, seen))
        told = partial(self._guarded, self._look)
        constants = self.asked.prepared.constants
        return Asker(self._backbone, self._runner, seen, constants, told=told, failed=self._fail)

    def _write(self, how: Continuation) -> None:
        """Begin a draft; what is still heard of the one before does not count."""
        self._number += 1
        self._ids, self._text, self._ended = [], "", None
        self._ends = self._ends[: len(how.beginning)]
        prepared = self.asked.prepared
        if prepared.search is None:
            make = partial(self._sampling, prepared.sampler, how)
            prepared = replace(prepared, sampler=make)
        listener = partial(self._hear_token, self._number) if self._asks_meanwhile else None
        self._draft = DirectTicket(
            self._backbone,
            self._runner,
            replace(self.asked, prepared=prepared),
            listener=listener if self._repairs_it else self._listener,
            observer=self._observer,
        )
        self._draft.add_done_callback(partial(self._hear_end, self._number))

    def _sampling(self, make: Callable[[], Sampler], how: Continuation) -> Sampler:
        self._sampler = ContinuingSampler(make(), how)
        return self._sampler

    def _hear_token(self, number: int, update: TokenUpdate) -> None:
        with self._lock:
            if number != self._number or update.finish_reason is not None:
                return  # an end is heard of with its answer
            assert update.id is not None
            self._ids.append(update.id)
            self._text += update.text
            if len(sentences(self._text)) - 1 > self._settled:
                self._guarded(self._look)

    def _hear_end(self, number: int, ticket: Ticket) -> None:
        with self._lock:
            if number == self._number:
                self._guarded(partial(self._take, ticket))

    def _take(self, ticket: Ticket) -> None:
        self._ended = ticket.result()
        self._text, self._ids = self._ended.text, list(self._ended.ids)
        self._look()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do something in the thread that makes the steps, where nothing may be raised."""
        with self._lock:
            if self.done:
                return
            try:
                work()
            except Exception as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            if not self.done:
                self._error = error
                self._draft.cancel()
                if self._asker is not None:
                    self._asker.cancel()
                self._call_back()

    def _look(self) -> None:
        """Ask what can be asked, and settle what sentences can be."""
        if self._cancelled:
            if self._ended is not None:
                self._finish()
            return
        whole = self._ended is not None
        spans = sentences(self._text) if self._text else []
        spans = spans if whole else spans[:-1]
        claims = self._claims(spans[-1][1]) if spans[self._settled :] else []
        if self._asker is not None:
            self._asker.ask([claim.question for claim in claims])
        for place in range(self._settled, len(spans)):
            own = [one for one in claims if spans[place][0] <= one.start < spans[place][1]]
            if self._asker is not None and any(
                one.question not in self._asker.heard for one in own
            ):
                return
            if not self._settle(spans[place], own):
                return
            self._settled, self._tries = place + 1, 0
            self._show(spans[place][1])
        if whole:
            self._finish()

    def _claims(self, end: int) -> list[Claim]:
        """What the draft states before a character."""
        self._ends = ends_of(self._ids, self._read, self._ends)
        found = claims_in(
            self._text[:end],
            self._ends,
            self._finder,
            images=len(self.asked.seen[0].images),
            attributes=self._checking.attributes,
        )
        return found

    def _settle(self, span: Span, claims: Sequence[Claim]) -> bool:
        """Decide about a sentence; False where it is written again."""
        doubts = [self._doubt(one) for one in claims]
        doubtful = [
            (claim, doubt)
            for claim, doubt in zip(claims, doubts, strict=True)
            if doubt.probability > self._checking.threshold
            or (claim.kind == "object" and claim.object in self._gone)
        ]
        tries = {"drop": 0, "rewrite": self._checking.attempts}.get(
            self._checking.repair, _TAKEN_BACK
        )
        again = self._again(doubtful) if self._repairs_it and self._tries < tries else []
        if again:
            self._tries += 1
            self._write_again(span, again)
            return False
        self._kept.update({(one.start, one.kind): one for one in doubts})
        if doubtful and self._repairs_it:
            self._note("dropped", span, [doubt for _, doubt in doubtful])
            for claim, _ in doubtful:
                cut = self._cut if claim.kind == "object" else self._plain
                cut.append((claim.start, claim.end))
                if claim.kind == "object":  # what is no longer there is not spoken of again
                    self._gone.add(claim.object)
                del self._kept[claim.start, claim.kind]
        return True

    def _again(self, doubtful: Sequence[_Doubted]) -> Sequence[_Doubted]:
        """For which of the doubtful statements a sentence is written again.

        A number or a colour alone is not worth a sentence: it is cut, except by ``constrain``.
        """
        if self._checking.repair == "constrain":
            return doubtful[:1]
        return [one for one in doubtful if one[0].kind == "object"]

    def _write_again(self, span: Span, doubtful: Sequence[_Doubted]) -> None:
        """Begin a draft that goes on before what is doubtful, without it."""
        claims = [claim for claim, _ in doubtful]
        cut = first_token(self._ends, span[0])
        if self._checking.repair == "constrain":
            cut = claims[0].tokens.start
        self._bans_at = {place: bans for place, bans in self._bans_at.items() if place <= cut}
        for claim in claims:
            if claim.kind == "object":
                spelled = self._finder.spellings(claim.object)
                self._bans += bans_of(spelled, self._backbone.tokenizer)
            else:  # another object may well be as many, or of that colour
                self._bans_at[cut] = (*self._bans_at.get(cut, ()), (self._ids[cut],))
        self._note("rewritten", span, [doubt for _, doubt in doubtful])
        beginning = tuple(self._ids[:cut])
        if self._ended is None:
            self._draft.cancel()
        self._write(Continuation(beginning, tuple(self._bans), dict(self._bans_at)))

    def _note(self, action: Any, span: Span, doubts: Sequence[Doubt]) -> None:
        start, end = span
        if action == "rewritten" and self._checking.repair == "constrain":
            end = doubts[0].end  # what follows may not have been written yet
        moved = [replace(one, start=one.start - start, end=one.end - start) for one in doubts]
        self._repairs.append(Repair(action, self._text[start:end].strip(), tuple(moved)))

    def _doubt(self, claim: Claim) -> Doubt:
        refusals = [] if self._asker is None else self._asker.heard[claim.question]
        logs = [] if self._sampler is None else self._sampler.logs[: claim.tokens.stop]
        written = [float(one) for one in logs[claim.tokens.start :]]
        return judge(claim, refusals, written, self._calibrations, self._checking.basis)

    def _repaired(self, end: int) -> str:
        """The text before a character without what is cut."""
        text = self._text[:end].rstrip()
        return drop(text, self._cut, self._plain) if self._cut or self._plain else text

    def _show(self, end: int) -> None:
        """Tell who listens of a checked sentence."""
        if self._listener is None or not self._repairs_it:
            return
        self._first = self._first or time.perf_counter()
        text = self._repaired(end)
        new, self._shown = text[len(self._shown) :], text
        self._tell(new)

    def _tell(self, text: str) -> None:
        """Tell who listens of more text, word by word."""
        for word in _WORD.findall(text):
            assert self._listener is not None
            self._listener(TokenUpdate(self._told, None, word, None))
            self._told += 1

    def _finish(self) -> None:
        written = self._ended
        assert written is not None
        text, ids, evidence = written.text, written.ids, written.evidence
        kept = [self._kept[key] for key in sorted(self._kept)]
        spans = sentences(text) if text else []
        if self._cancelled and self._repairs_it and self._settled < len(spans):
            end = spans[self._settled - 1][1] if self._settled else 0
            text = text[:end].rstrip()
            ids = ids[: first_token(ends_of(ids, self._read), len(text))]
            evidence = None if evidence is None else evidence[: len(ids)]
            kept = [one for one in kept if one.end <= len(text)]
        if self._cut or self._plain:
            text = self._repaired(len(text))
            tokenizer = self._backbone.tokenizer
            ids, evidence = tuple(tokenizer.encode(text, add_special_tokens=False)), None
            kept = self._moved(text, ids, kept)
        now = time.perf_counter()
        first = self._first - self._start if self._first else written.timings["first_token"]
        reason = "cancelled" if self._cancelled else written.finish_reason
        if self._listener is not None and self._repairs_it:
            self._tell(text[len(self._shown) :])
            self._listener(TokenUpdate(self._told, None, "", reason))
        self._answer = replace(
            written,
            text=text,
            ids=ids,
            finish_reason=reason,
            timings={**written.timings, "first_token": first, "generate": now - self._start},
            provenance={**written.provenance, "checking": self._facts()},
            evidence=evidence,
            doubts=tuple(kept),
            repairs=tuple(self._repairs),
        )
        self._call_back()

    def _moved(self, text: str, ids: Sequence[int], kept: Sequence[Doubt]) -> list[Doubt]:
        """Doubts where they are in a text from which something was cut."""
        left = list(kept)
        found = []
        ends = ends_of(ids, self._read)
        images = len(self.asked.seen[0].images)
        for claim in claims_in(text, ends, self._finder, images=images, attributes=True):
            key = (claim.kind, claim.object, claim.text.lower())
            same = (one for one in left if (one.kind, one.object, one.text.lower()) == key)
            doubt = next(same, None)
            if doubt is not None:
                left.remove(doubt)
                moved = replace(doubt, text=claim.text, start=claim.start, end=claim.end)
                found.append(moved)
        return found

    def _facts(self) -> dict[str, Any]:
        """What the doubts went by, for the provenance."""
        objects = self._checking.objects
        return {
            "basis": self._checking.basis,
            "objects": objects if isinstance(objects, str) else list(objects),
            "calibrations": self._calibrations.to_dict(),
        }
