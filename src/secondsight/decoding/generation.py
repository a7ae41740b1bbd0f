"""A generation step by step, which others may join while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LogitsProcessorList
from transformers.generation import GenerateDecoderOnlyOutput

from secondsight.decoding.looks import Look, Looks
from secondsight.decoding.observer import Observer
from secondsight.decoding.record import Record
from secondsight.decoding.rows import Rows
from secondsight.decoding.sampling import draw
from secondsight.decoding.writer import Writer
from secondsight.errors import UnsupportedError


@dataclass(eq=False)
class Part:
    """The samples of one `generate` call, and what it prepared for them.

    Attributes:
        writer: Their sequences.
        processors: Applied to their scores.
        generators: What each one's tokens are drawn from; None for greedy decoding.
        record: What is returned besides ids.
        observer: Told of every step.
    """

    writer: Writer
    processors: LogitsProcessorList
    generators: Sequence[torch.Generator] | None
    record: Record
    observer: Observer | None

    def process(self, scores: torch.Tensor) -> torch.Tensor:
        """The final scores of the active samples."""
        return self.writer.process(self.processors, scores)

    def write(self, look: Look, place: slice, scores: torch.Tensor) -> None:
        """Choose the active samples' next tokens and write them.

        Args:
            look: What was seen.
            place: Where the active samples are in it.
            scores: Their final scores.
        """
        if self.generators is None:
            tokens = scores.argmax(dim=-1)
        else:
            tokens = draw(scores, self.generators, self.writer.active)
        self.record.add(look, scores)
        if self.observer is not None:
            self.observer(look.as_step(place, self.writer.active, scores, tokens))
        self.writer.write(tokens, self.record.scores)

    def drop_finished(self) -> list[int]:
        """Let go of who has finished, unless something is recorded of them.

        Returns:
            The places, among the samples that were active, of those that still are.
        """
        if self.record.wanted:
            return list(range(len(self.writer.active)))
        return self.writer.drop_finished()

    def result(self) -> GenerateDecoderOnlyOutput | torch.Tensor:
        """What `generate` returns."""
        return self.record.result(self.writer.close())


class Generation:
    """Samples on their way to an answer.

    One pass of the model reads the rows of all parts; everything else, from logits processors to
    the end of an answer, is each part's own, as if it were alone.

    Args:
        rows: The model's rows.
        looks: Reads them.
        part: The samples.

    Attributes:
        parts: The `generate` calls whose samples are still being written.
    """

    def __init__(self, rows: Rows, looks: Looks, part: Part) -> None:
        self._rows = rows
        self._looks = looks
        self.parts = [part]

    @property
    def samples(self) -> int:
        """How many samples are still being written."""
        return self._rows.samples if self.parts else 0

    def run(self) -> GenerateDecoderOnlyOutput | torch.Tensor:
        """Write a generation that nobody joined to its end; what `generate` returns."""
        [part] = self.parts
        while not part.writer.finished:
            self.step()
        return part.result()

    @torch.no_grad()
    def step(self) -> list[Part]:
        """Write one token to every sample.

        Returns:
            The parts that are finished with it, and leave.
        """
        steps = [part.writer.steps for part in self.parts for _ in part.writer.active]
        look = self._looks.next(steps, **self.parts[0].record.options)
        places = self._places()
        scores = look.scores(lambda masked: self._process(masked, places))
        for part, place in zip(self.parts, places, strict=True):
            part.write(look, place, scores[place])
        self._rows.append(torch.cat([part.writer.last_tokens for part in self.parts]))
        kept = [
            place.start + number
            for part, place in zip(self.parts, places, strict=True)
            for number in part.drop_finished()
        ]
        self._rows.keep(kept)
        finished = [part for part in self.parts if part.writer.finished]
        self.parts = [part for part in self.parts if not part.writer.finished]
        return finished

    def join(self, other: Generation) -> None:
        """Let the samples of a paused generation join, behind those that are being written.

        Args:
            other: One of the same model, method and schedule, its views given sample by sample.

        Raises:
            UnsupportedError: Outputs besides ids are to be returned, for which rows must stay.
        """
        if any(part.record.wanted for part in (*self.parts, *other.parts)):
            raise UnsupportedError("A generation that returns more than ids cannot be joined.")
        self._rows.join(other._rows)
        self.parts += other.parts

    def _places(self) -> list[slice]:
        """Where each part's active samples are."""
        places, start = [], 0
        for part in self.parts:
            stop = start + len(part.writer.active)
            places.append(slice(start, stop))
            start = stop
        return places

    def _process(self, scores: torch.Tensor, places: Sequence[slice]) -> torch.Tensor:
        processed = [
            part.process(scores[place]) for part, place in zip(self.parts, places, strict=True)
        ]
        return processed[0] if len(processed) == 1 else torch.cat(processed)
