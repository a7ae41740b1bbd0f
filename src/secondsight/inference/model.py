"""A loaded model: one interface to answer, answer in batches, and stream, with any method."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
)

from secondsight.answer import Answer
from secondsight.decoding import Observer
from secondsight.decoding.collate import TOKEN_ALIGNED
from secondsight.decoding.prefixes import Prefix, PrefixCache
from secondsight.decoding.sampling import derive_seed, generator
from secondsight.errors import QuestionError
from secondsight.images import Images
from secondsight.inference.batching import (
    checked_batch_size,
    fitting_batch_size,
    in_batches,
    order,
)
from secondsight.inference.encoder import Encoder
from secondsight.inference.looked import Looked
from secondsight.inference.streaming import Pieces, Stream
from secondsight.inference.writing import Writing, answer_in_turn
from secondsight.methods import Method, RitualPlus, create
from secondsight.presets import Preset
from secondsight.prompts import Turn
from secondsight.sample import Sample
from secondsight.settings import Settings, as_stops
from secondsight.views import View

if TYPE_CHECKING:
    from secondsight.trace import Trace

PREFIX_CACHE_BYTES: Final = 512 * 2**20
"""How much of the prompts that were read last is kept, for further questions on their images."""

CONSULTATION_TOKENS: Final = 32
"""The longest reply to a method's question before the answer (RITUAL+)."""


class Model:
    """A vision-language model that answers with any decoding method.

    Args:
        hf_model: The transformers model.
        encoder: Turns samples into its inputs.
        preset: The protocol that the encoder follows.
        name: How the model was asked for.
        revision: The commit on the hub, if it came from there.
        stored_generation: The generation configuration as the checkpoint has it, for the record;
            that of `hf_model` if left out.

    Attributes:
        hf_model: The transformers model, for ``hf_model.generate(...)`` of one's own.
        prefixes: The beginnings of the prompts that were read last, images included; its
            `capacity` (bytes) may be set, and `clear` forgets them.
    """

    def __init__(
        self,
        hf_model: PreTrainedModel,
        encoder: Encoder,
        *,
        preset: Preset,
        name: str,
        revision: str | None = None,
        stored_generation: GenerationConfig | None = None,
    ) -> None:
        self.stored_generation = stored_generation or hf_model.generation_config
        self.hf_model = hf_model
        self.encoder = encoder
        self.preset = preset
        self.name = name
        self.revision = revision
        self.prefixes = PrefixCache(PREFIX_CACHE_BYTES)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return self.encoder.tokenizer

    def encode(
        self, image: Images, question: str, *, history: Sequence[Turn] = ()
    ) -> dict[str, Any]:
        """The model inputs of a question, for ``hf_model.generate`` or as one of its views.

        Args:
            image: The image, or several; None for the prompt without the image.
            question: The question.
            history: Earlier turns.

        Returns:
            A batch of one on the model's device: ``input_ids`` and ``attention_mask`` of shape
            (1, tokens), and with images ``pixel_values``, for which a tensor of one's own may
            be put.

        Raises:
            ImageError: The image cannot be used.
            QuestionError: The question is empty or too long.
        """
        return self.encode_sample(Sample(image, question, history=tuple(history)))

    def encode_sample(self, sample: Sample) -> dict[str, Any]:
        """The model inputs of a sample, as `encode` returns them: what a view made of it counts.

        Raises:
            ImageError: The image cannot be used.
            QuestionError: The question is empty or too long.
        """
        return self.to_device(self._encode(_checked(sample).opened()))

    def answer(
        self,
        image: Images,
        question: str,
        method: str | Method = "regular",
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int | None = None,
        repetition_penalty: float = 1.0,
        stop: str | list[str] | None = None,
        seed: int = 0,
        evidence: bool = False,
        history: Sequence[Turn] = (),
        schedule: str = "auto",
        share_views: bool = False,
    ) -> Answer:
        """Answer a question about an image.

        Args:
            image: A path, a URL, bytes or a PIL image; several of them in a list, in the order in
                which the model is shown them; None for no image.
            question: The question.
            method: A decoding method, or its text form such as ``ritual:alpha=2``.
            max_new_tokens: The longest answer, in tokens; shorter where the context ends.
            temperature: 0 for greedy decoding.
            top_p: Draw from the fewest tokens that together reach this probability.
            top_k: Draw from this many tokens at the most.
            repetition_penalty: Above 1 it discourages repetition.
            stop: Strings at which the answer ends; they are not part of it.
            seed: Of everything that is drawn.
            evidence: Whether to keep what speaks for every token.
            history: Earlier turns of the conversation about this image.
            schedule: When the views are read; the answer does not depend on it.
            share_views: Whether what the views draw (RITUAL's transform, VCD's noise) depends on
                the image alone, so that all questions on it share the views.

        Returns:
            The answer; the same one that the question gets in any batch.

        Raises:
            UserError: Something given cannot be used; the message says what to do.
        """
        sample = Sample(image, question, history=tuple(history))
        return self.answer_batch(
            [sample],
            method,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            repetition_penalty=repetition_penalty,
            stop=stop,
            seed=seed,
            evidence=evidence,
            schedule=schedule,
            share_views=share_views,
        )[0]

    def answer_batch(
        self,
        samples: Iterable[Sample | tuple[Images, str]],
        method: str | Method = "regular",
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int | None = None,
        repetition_penalty: float = 1.0,
        stop: str | list[str] | None = None,
        seed: int = 0,
        evidence: bool = False,
        schedule: str = "auto",
        share_views: bool = False,
        batch_size: int | Literal["auto"] = 8,
    ) -> list[Answer]:
        """Answer many questions, any mixture of images, sizes and lengths.

        Args:
            samples: Samples, or pairs of an image (or several, or None) and a question.
            method: As for `answer`, and so for all that is not named here.
            max_new_tokens: See `answer`.
            temperature: See `answer`.
            top_p: See `answer`.
            top_k: See `answer`.
            repetition_penalty: See `answer`.
            stop: See `answer`.
            seed: See `answer`; each sample draws from its own numbers, by this and its id.
            evidence: See `answer`.
            schedule: See `answer`.
            share_views: See `answer`.
            batch_size: How many samples are answered together; ``auto`` goes by free memory.
                Fewer are where memory runs out all the same.

        Returns:
            The answers, in the order of the samples, each equal to that of a single run.
        """
        settings = Settings(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            repetition_penalty=repetition_penalty,
            stop=as_stops(stop),
            seed=seed,
        )
        chosen = create(method)
        checked = [_checked(_as_sample(sample)) for sample in samples]
        size = checked_batch_size(batch_size) or self._batch_size(checked, chosen, settings)

        def start(numbers: Sequence[int]) -> Writing:
            batch = [
                self._look(checked[number], chosen, settings, share_views) for number in numbers
            ]
            return Writing(self, batch, chosen, settings, evidence=evidence, schedule=schedule)

        answers = dict(in_batches(order(checked, size), size, partial(answer_in_turn, start=start)))
        return [answers[number] for number in range(len(checked))]

    def _batch_size(self, samples: Sequence[Sample], method: Method, settings: Settings) -> int:
        if not samples:
            return 1
        longest = max(samples, key=lambda sample: len(sample.question)).opened()
        prompt = self._encode(longest)["input_ids"].shape[1]
        positions = min(prompt + settings.max_new_tokens, self.encoder.context_length)
        return fitting_batch_size(self.hf_model, positions, len(method.views(longest)))

    def stream(
        self,
        image: Images,
        question: str,
        method: str | Method = "regular",
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int | None = None,
        repetition_penalty: float = 1.0,
        stop: str | list[str] | None = None,
        seed: int = 0,
        history: Sequence[Turn] = (),
        schedule: str = "auto",
        share_views: bool = False,
    ) -> Stream:
        """Answer piece by piece; the arguments are those of `answer`.

        Returns:
            An iterator over pieces of text that never splits a character; joined they are the
            answer's text. Its `answer` is the whole answer once it has ended, and closing it
            ends the writing early.
        """
        settings = Settings(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            repetition_penalty=repetition_penalty,
            stop=as_stops(stop),
            seed=seed,
        )
        chosen = create(method)
        sample = _checked(Sample(image, question, history=tuple(history)))
        # Looked at here, so that what is wrong is said now and not while streaming.
        encoded = self._look(sample, chosen, settings, share_views)

        def write(cancelled: StoppingCriteria, emit: Callable[[str], None]) -> Answer:
            pieces = Pieces(self.tokenizer, settings.stop, emit)
            [answer] = Writing(
                self,
                [encoded],
                chosen,
                settings,
                schedule=schedule,
                streamer=pieces,
                criteria=[cancelled],
            ).run()
            pieces.finish(answer.text)
            return answer

        return Stream(write)

    def trace(
        self,
        image: Images,
        question: str,
        method: str | Method = "regular",
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int | None = None,
        repetition_penalty: float = 1.0,
        stop: str | list[str] | None = None,
        seed: int = 0,
        history: Sequence[Turn] = (),
        schedule: str = "auto",
        attentions: bool = True,
        rollout: bool = False,
        layers: str | Collection[int] = (),
        keep: str | Path | None = None,
    ) -> Trace:
        """Answer, and record everything on the way; the answer is that of `answer`.

        Args:
            image: As for `answer`, and so for all that is not named here.
            question: See `answer`.
            method: See `answer`.
            max_new_tokens: See `answer`.
            temperature: See `answer`.
            top_p: See `answer`.
            top_k: See `answer`.
            repetition_penalty: See `answer`.
            stop: See `answer`.
            seed: See `answer`.
            history: See `answer`.
            schedule: See `answer`; recording reads every view at every step.
            attentions: Whether to record attention to the patches.
            rollout: Whether to roll attention out through the layers as well.
            layers: Layers to show one by one, calls and heads: numbers, or text such as ``0,4-7``
                or ``all``.
            keep: A file for the whole tensors, in safetensors' format.

        Returns:
            The record, which writes itself as HTML, Markdown or JSON.
        """
        from secondsight.trace import Options, record

        settings = Settings(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            repetition_penalty=repetition_penalty,
            stop=as_stops(stop),
            seed=seed,
        )
        chosen = create(method)
        sample = _checked(Sample(image, question, history=tuple(history)))

        def write(
            batch: Sequence[Looked], loop: Callable[..., Any], observer: Observer
        ) -> list[Answer]:
            writing = Writing(self, batch, chosen, settings, schedule=schedule, observer=observer)
            return writing.run(loop)

        return record(
            self,
            chosen,
            settings,
            Options(attentions=attentions, rollout=rollout, layers=layers, keep=keep),
            look=partial(self._look, sample, chosen, settings, share_views=False),
            write=write,
        )

    def _encode(self, sample: Sample) -> dict[str, Any]:
        inputs = self.encoder.encode(sample)
        length = inputs["input_ids"].shape[1]
        if length >= self.encoder.context_length:
            raise QuestionError(
                f"The prompt has {length} positions, image included; the model's context has "
                f"{self.encoder.context_length}. Ask a shorter question."
            )
        return inputs

    def to_device(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Inputs on the model's device, pixels in its dtype."""

        def move(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            dtype = self.hf_model.dtype if value.is_floating_point() else None
            return value.to(device=self.hf_model.device, dtype=dtype)

        return {key: move(value) for key, value in inputs.items()}

    def facts(self) -> dict[str, Any]:
        """What an answer's provenance says about the model."""
        return {
            "model": self.name,
            "revision": self.revision,
            "dtype": str(self.hf_model.dtype).removeprefix("torch."),
            "device": str(self.hf_model.device),
            "preset": self.preset.name,
        }

    def _look(
        self, sample: Sample, method: Method, settings: Settings, share_views: bool
    ) -> Looked:
        """Look at a sample in every view of a method, with the sample's own random numbers."""
        start = time.perf_counter()
        opened = sample.opened()
        seed = derive_seed(settings.seed, opened.identity)
        views, reply = self._views(opened, method)
        drawn_for = derive_seed(settings.seed, opened.digest) if share_views else seed
        draws = generator(derive_seed(drawn_for, "views"))
        seen = [view.apply(opened, draws) for view in views]
        encoded = [self._encode(one) for one in seen]
        return Looked(
            sample=opened,
            seed=derive_seed(seed, "tokens"),
            seen=tuple(seen),
            views=tuple(encoded),
            prefixes=tuple(map(self._prefix, encoded)),
            names=tuple(view.name for view in views),
            drawn=tuple(one.drawn for one in seen),
            reply=reply,
            seconds=time.perf_counter() - start,
        )

    def _prefix(self, inputs: dict[str, Any]) -> Prefix | None:
        """The beginning of a prompt that other questions on the same image share."""
        length = self.encoder.shareable(inputs)
        if not length:
            return None
        digest = hashlib.blake2b(inputs["input_ids"][:, :length].numpy().tobytes(), digest_size=16)
        for name, value in sorted(inputs.items()):
            if name not in TOKEN_ALIGNED and isinstance(value, torch.Tensor):
                digest.update(f"{name} {tuple(value.shape)}".encode() + value.numpy().tobytes())
        return Prefix(digest.digest(), length)

    def _views(self, sample: Sample, method: Method) -> tuple[tuple[View, ...], str | None]:
        if not isinstance(method, RitualPlus):
            return method.views(sample), None
        question = method.consultation(sample)
        reply = self.answer(sample.image, question, max_new_tokens=CONSULTATION_TOKENS).text
        return method.views_after(reply), reply


def _as_sample(sample: Sample | tuple[Images, str]) -> Sample:
    return sample if isinstance(sample, Sample) else Sample(*sample)


def _checked(sample: Sample) -> Sample:
    if not isinstance(sample.question, str) or not sample.question.strip():
        raise QuestionError("The question is empty. Ask something about the image.")
    if any("\ud800" <= character <= "\udfff" for character in sample.question):
        raise QuestionError("The question holds bytes that are no text. Write it in UTF-8.")
    return sample
