"""One run, recorded: prepare the sample, write the answer, run over it again, put it together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from secondsight.errors import UnsupportedError
from secondsight.extras import require
from secondsight.files import check_writable
from secondsight.methods import Method
from secondsight.settings import Settings
from secondsight.trace.activations import PromptActivations
from secondsight.trace.answer_words import answer_words, token_texts
from secondsight.trace.attention import AttentionCollector, fitting
from secondsight.trace.calls import CallRecorder, layer_count
from secondsight.trace.config import config_facts
from secondsight.trace.generation import WatchedLoop, generation_facts, output_facts
from secondsight.trace.keep import Keeper
from secondsight.trace.layers import parse_layers
from secondsight.trace.lens import Lens
from secondsight.trace.maps import ViewAttention
from secondsight.trace.patches import Patches, find_patches
from secondsight.trace.prompting import inference_facts, view_facts
from secondsight.trace.result import Trace
from secondsight.trace.teacher_forcing import TeacherForcedPass
from secondsight.trace.token_facts import LensLayer
from secondsight.trace.tokens import TokenReader, TokenRecorder, with_dependence
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
        activations = PromptActivations(self.model.hf_model, self.keeper)
        loop = WatchedLoop(whole=self.keeper.wanted)
        with self._timed("prepare"), calls.recording():
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
        with self._timed("answer"), activations.watching(length), calls.recording():
            [answer] = write([encoded], loop=loop.as_loop(), observer=tokens)
        patches = [
            find_patches(self.model, inputs, len(sample.images))
            for inputs, sample in zip(encoded.views, encoded.seen, strict=True)
        ]
        with self._timed("teacher forcing"):
            without, attention, lens = self._run_again(encoded, tokens, patches)
        with self._timed("report"):
            if patches[0] is not None and patches[0].note is not None:
                self.notes.append(patches[0].note)
            inference = inference_facts(
                self.model, encoded.seen[0], encoded.views[0], activations, patches[0]
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
                cache=activations.cache,
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
            words=answer_words(facts),
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

    def _run_again(
        self, encoded: Looked, tokens: TokenRecorder, patches: Sequence[Patches | None]
    ) -> tuple[list[float] | None, tuple[ViewAttention, ...], tuple[tuple[LensLayer, ...], ...]]:
        """The teacher-forced pass over every view, and of the prompt without the image."""
        forced = TeacherForcedPass(self.model.hf_model, tokens.ids)
        attention: list[ViewAttention] = []
        lens: tuple[tuple[LensLayer, ...], ...] = ()
        for place, (name, inputs) in enumerate(zip(encoded.names, encoded.views, strict=True)):
            collector = self._collector(name, forced, inputs, patches[place])
            own_lens = self._lens(forced, inputs, tokens.ids) if place == 0 else None
            hidden = (name, self.keeper) if self.keeper.wanted else None
            if collector is None and own_lens is None and hidden is None:
                continue
            read = forced.run(
                self._on_device(inputs), attention=collector, lens=own_lens, hidden=hidden
            )
            if own_lens is not None:
                lens = own_lens.result(self.read)
                self._check_lens(lens, read)
            found = None if collector is None else collector.result()
            if found is not None:
                attention.append(found)
        return (
            self._without_image(encoded, tokens, forced),
            fitting(attention, wanted=self.layers, budget=MAP_BYTES),
            lens,
        )

    def _collector(
        self,
        name: str,
        forced: TeacherForcedPass,
        inputs: Mapping[str, Any],
        patches: Patches | None,
    ) -> AttentionCollector | None:
        if not self.options.attentions or patches is None or not len(patches.everywhere):
            return None
        return AttentionCollector(
            name,
            forced.rows(inputs),
            patches,
            rollout=self.options.rollout,
            keeper=self.keeper,
        )

    def _lens(
        self, forced: TeacherForcedPass, inputs: Mapping[str, Any], tokens: Sequence[int]
    ) -> Lens | None:
        layers, head = forced.layers, self.model.hf_model.get_output_embeddings()
        if layers is None or layers.norm is None or head is None:
            self.notes.append(
                "No logit lens: this family's last normalisation or output head is not where it "
                "is known to be."
            )
            return None
        text = self.model.hf_model.config.get_text_config(decoder=True)
        cap = getattr(text, "final_logit_softcapping", None)
        return Lens(layers.norm, head, forced.rows(inputs), tokens, cap=cap)

    def _check_lens(self, lens: Sequence[Sequence[LensLayer]], read: Sequence[float]) -> None:
        """Say so where a family does more to its logits than the lens knows of."""
        pairs = zip(lens, read, strict=True)
        if any(abs(layers[-1].probability - math.exp(log)) > _SAME for layers, log in pairs):
            self.notes.append(
                "The logit lens ends otherwise than the model: this family does something to its "
                "logits, such as scaling them, that the lens leaves out."
            )

    def _without_image(
        self, encoded: Looked, tokens: TokenRecorder, forced: TeacherForcedPass
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
        return forced.run(self._on_device(inputs))

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
