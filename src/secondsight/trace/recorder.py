"""One run, recorded: look at the sample, write the answer, read it again, put it together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from secondsight.errors import UnsupportedError, UserError
from secondsight.extras import require
from secondsight.files import check_writable
from secondsight.methods import Method
from secondsight.settings import Settings
from secondsight.trace.attention import AttentionCollector, fitting
from secondsight.trace.calls import CallRecorder, layer_count
from secondsight.trace.config import config_facts
from secondsight.trace.generation import WatchedLoop, generation_facts, output_facts
from secondsight.trace.keep import Keeper
from secondsight.trace.lens import Lens
from secondsight.trace.patches import Patches, find_patches
from secondsight.trace.prompting import inference_facts, view_facts
from secondsight.trace.reading import SecondReading
from secondsight.trace.record import LensLayer, Trace, ViewAttention
from secondsight.trace.spine import Spine
from secondsight.trace.tokens import TokenReader, TokenRecorder, with_dependence
from secondsight.trace.words import token_texts, words
from secondsight.views import NoImage

if TYPE_CHECKING:
    from secondsight.inference.looked import Looked
    from secondsight.inference.model import Model

MAP_BYTES: Final = 5_000_000
"""Room for attention maps in a report, so that it stays below 10 MB for LLaVA-1.5-7B."""

_SAME: Final = 0.02
"""How far a probability may be from itself in half precision."""

_TOP: Final = 10
"""Candidates that are kept of every distribution."""


@dataclass(frozen=True)
class Options:
    """What to record besides what is always recorded.

    Attributes:
        attentions: Attention to the patches.
        rollout: Attention rolled out through the layers, too.
        layers: Layers to show one by one, calls and heads: numbers, or text such as ``0,4-7``.
        keep: A file for the whole tensors.
        decode_steps: Decode steps whose calls are recorded after prefill.
    """

    attentions: bool = True
    rollout: bool = False
    layers: str | Collection[int] = ()
    keep: str | Path | None = None
    decode_steps: int = 2


def record(
    model: Model,
    method: Method,
    settings: Settings,
    options: Options,
    *,
    look: Callable[[], Looked],
    write: Callable[..., Any],
) -> Trace:
    """Answer a question and record how.

    Args:
        model: The model.
        method: The decoding method.
        settings: How the answer is generated.
        options: What to record.
        look: Looks at the sample in every view.
        write: Writes the answer of a batch of such looks, given a loop and an observer.

    Raises:
        UserError: A layer that the model does not have, or a file that cannot be written.
        MissingPackageError: The extra ``trace`` is not installed.
    """
    require("trace", "A trace")
    return _Recording(model, method, settings, options).run(look, write)


class _Recording:
    """The state of one recording."""

    def __init__(self, model: Model, method: Method, settings: Settings, options: Options) -> None:
        self.model = model
        self.method = method
        self.settings = settings
        self.options = options
        self.keep_path = None if options.keep is None else Path(options.keep)
        if self.keep_path is not None:
            check_writable(self.keep_path)
        self.layers = parse_layers(options.layers, layer_count(model.hf_model))
        self.read = TokenReader(model.tokenizer)
        self.keeper = Keeper(wanted=self.keep_path is not None)
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []

    def run(self, look: Callable[[], Looked], write: Callable[..., Any]) -> Trace:
        calls = CallRecorder(
            self.model.hf_model, steps=self.options.decode_steps, layers=self.layers
        )
        spine = Spine(self.model.hf_model, self.keeper)
        loop = WatchedLoop(whole=self.keeper.wanted)
        with self._timed("look"), calls.recording():
            looked = look()
        # What is known from earlier questions about the image would not be seen being read.
        encoded = replace(looked, prefixes=(None,) * len(looked.views))
        calls.next_phase()
        length = int(encoded.views[0]["input_ids"].shape[1])
        tokens = TokenRecorder(
            self.method,
            encoded.names,
            keep=_TOP,
            after_step=calls.next_phase,
            keeper=self.keeper,
        )
        with self._timed("answer"), spine.watching(length), calls.recording():
            [answer] = write([encoded], loop=loop.as_loop(), observer=tokens)
        patches = [
            find_patches(self.model, inputs, len(sample.images))
            for inputs, sample in zip(encoded.views, encoded.seen, strict=True)
        ]
        with self._timed("second reading"):
            without, attention, lens = self._read_again(encoded, tokens, patches)
        with self._timed("report"):
            if patches[0] is not None and patches[0].note is not None:
                self.notes.append(patches[0].note)
            inference = inference_facts(
                self.model, encoded.seen[0], encoded.views[0], spine, patches[0]
            )
            texts = token_texts(self.model.tokenizer, tokens.ids)
            facts = with_dependence(tokens.facts(self.read, texts), without)
            views = view_facts(self.model, encoded, patches)
            self._keep_inputs(encoded)
            config = config_facts(self.model)
            generation = generation_facts(
                self.model,
                self.settings,
                loop,
                cache=spine.cache,
                ids=inference.ids,
                views=len(encoded.names),
            )
            output = output_facts(loop, answer.text, inference.ids)
            phases = calls.phases()
        if self.keep_path is not None:
            self.keeper.write(self.keep_path)
        return Trace(
            answer=answer,
            config=config,
            inference=inference,
            generation=generation,
            flow=phases,
            output=output,
            tokens=facts,
            words=words(facts),
            views=views,
            attention=attention,
            lens=lens,
            notes=tuple(self.notes),
            seconds=self.seconds,
            kept=self.keeper.shapes(),
        )

    @contextmanager
    def _timed(self, name: str) -> Any:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def _read_again(
        self, encoded: Looked, tokens: TokenRecorder, patches: Sequence[Patches | None]
    ) -> tuple[list[float] | None, tuple[ViewAttention, ...], tuple[tuple[LensLayer, ...], ...]]:
        """The second reading of every view, and of the prompt without the image."""
        reading = SecondReading(self.model.hf_model, tokens.ids)
        attention: list[ViewAttention] = []
        lens: tuple[tuple[LensLayer, ...], ...] = ()
        for place, (name, inputs) in enumerate(zip(encoded.names, encoded.views, strict=True)):
            collector = self._collector(name, reading, inputs, patches[place])
            own_lens = self._lens(reading, inputs, tokens.ids) if place == 0 else None
            hidden = (name, self.keeper) if self.keeper.wanted else None
            if collector is None and own_lens is None and hidden is None:
                continue
            read = reading.read(
                self._on_device(inputs), attention=collector, lens=own_lens, hidden=hidden
            )
            if own_lens is not None:
                lens = own_lens.result(self.read)
                self._check_lens(lens, read)
            found = None if collector is None else collector.result()
            if found is not None:
                attention.append(found)
        return (
            self._without_image(encoded, tokens, reading),
            fitting(attention, wanted=self.layers, budget=MAP_BYTES),
            lens,
        )

    def _collector(
        self,
        name: str,
        reading: SecondReading,
        inputs: Mapping[str, Any],
        patches: Patches | None,
    ) -> AttentionCollector | None:
        if not self.options.attentions or patches is None or not len(patches.everywhere):
            return None
        return AttentionCollector(
            name,
            reading.rows(inputs),
            patches,
            rollout=self.options.rollout,
            keeper=self.keeper,
        )

    def _lens(
        self, reading: SecondReading, inputs: Mapping[str, Any], tokens: Sequence[int]
    ) -> Lens | None:
        layers, head = reading.layers, self.model.hf_model.get_output_embeddings()
        if layers is None or layers.norm is None or head is None:
            self.notes.append(
                "No logit lens: this family's last normalisation or output head is not where it "
                "is known to be."
            )
            return None
        text = self.model.hf_model.config.get_text_config(decoder=True)
        cap = getattr(text, "final_logit_softcapping", None)
        return Lens(layers.norm, head, reading.rows(inputs), tokens, cap=cap)

    def _check_lens(self, lens: Sequence[Sequence[LensLayer]], read: Sequence[float]) -> None:
        """Say so where a family does more to its logits than the lens knows of."""
        pairs = zip(lens, read, strict=True)
        if any(abs(layers[-1].probability - math.exp(log)) > _SAME for layers, log in pairs):
            self.notes.append(
                "The logit lens ends otherwise than the model: this family does something to its "
                "logits, such as scaling them, that the lens leaves out."
            )

    def _without_image(
        self, encoded: Looked, tokens: TokenRecorder, reading: SecondReading
    ) -> list[float] | None:
        """The log-probability of each token in the same place without the image."""
        if not encoded.sample.images:
            return None
        view = NoImage()
        if view.name in encoded.names:
            return tokens.log_probabilities(view.name)
        sample = view.apply(encoded.sample, torch.Generator())
        try:
            inputs = self.model.encoder.encode(sample)
        except UnsupportedError as error:
            self.notes.append(f"How much a word depended on the image cannot be told: {error}")
            return None
        return reading.read(self._on_device(inputs))

    def _on_device(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        device, dtype = self.model.hf_model.device, self.model.hf_model.dtype
        return {
            key: value.to(device=device, dtype=dtype if value.is_floating_point() else None)
            if isinstance(value, torch.Tensor)
            else value
            for key, value in inputs.items()
        }

    def _keep_inputs(self, encoded: Looked) -> None:
        for name, inputs in zip(encoded.names, encoded.views, strict=True):
            for key in ("input_ids", "attention_mask", "pixel_values"):
                if inputs.get(key) is not None:
                    self.keeper.keep(f"inputs.{name}.{key}", inputs[key])


def parse_layers(layers: str | Collection[int], count: int) -> frozenset[int]:
    """Layer numbers from text such as ``0,4-7`` or ``all``.

    Raises:
        UserError: Not of that form, or a layer that the model does not have.
    """
    if not isinstance(layers, str):
        numbers = frozenset(layers)
    elif layers.strip() == "all":
        numbers = frozenset(range(count))
    else:
        numbers = frozenset(
            number
            for part in layers.split(",")
            if part.strip()
            for number in _span(part.strip(), layers)
        )
    unknown = sorted(number for number in numbers if not 0 <= number < count)
    if unknown:
        raise UserError(f"The model has no layer {unknown[0]}: its layers are 0 to {count - 1}.")
    return numbers


def _span(part: str, text: str) -> range:
    first, dash, last = part.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise UserError(f"layers must be 'all' or numbers such as '0,4-7', not {text!r}.")
    return range(int(first), int(last if dash else first) + 1)
