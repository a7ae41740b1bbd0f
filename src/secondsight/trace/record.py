"""The record of one run, typed: what was loaded, asked, generated, called, and why each token."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from secondsight.answer import Answer
from secondsight.trace.tensors import TensorFacts


@dataclass(frozen=True)
class Part:
    """The parameters of one part of the model."""

    name: str
    module: str
    parameters: int
    bytes: int


@dataclass(frozen=True)
class ConfigFacts:
    """What was loaded (the seed's *Config*).

    Attributes:
        tokenizer: Class, vocabulary, special tokens and other settings.
        model_name: How the model was asked for.
        model_class: Its class.
        model_config: Its configuration.
        modules: The module tree, repeated layers folded.
        image_processor: Its class and settings, if the family has one.
        context_length: Positions for prompt and answer together.
        parts: Parameters per part; the last entry is the whole.
        dtype: The weights' type.
        device: Where the weights are.
        attention: The implementation of attention, by part.
    """

    tokenizer: Mapping[str, Any]
    model_name: str
    model_class: str
    model_config: Mapping[str, Any]
    modules: str
    image_processor: Mapping[str, Any] | None
    context_length: int
    parts: tuple[Part, ...]
    dtype: str
    device: str
    attention: Mapping[str, str]


@dataclass(frozen=True)
class Shown:
    """An image of the report, as a data URI."""

    title: str
    width: int
    height: int
    uri: str


@dataclass(frozen=True)
class Chunk:
    """A piece of the prompt that was tokenised on its own.

    Attributes:
        text: The piece.
        kind: ``text``, ``image`` or ``end`` (of a turn).
        ids: The ids that it became in the prompt.
        tokens: Each id's text.
        count: How many ids it became.
        with_start: How many ids it has when tokenised alone, with the beginning of a sequence;
            as many as `count` where the family tokenises its prompt in one piece.
    """

    text: str
    kind: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    count: int
    with_start: int


@dataclass(frozen=True)
class Splicing:
    """Where the image enters the prompt.

    Attributes:
        slots: Indices of the image slots among the ids.
        ids: Number of ids with one slot per image (the seed's 50).
        features: Positions that one image takes (576).
        added: How many positions that adds (575).
        positions: Positions after splicing (625).
        image_start: First position of the image.
        image_stop: The position after its last.
        mask_before: The attention mask over the ids: how many ones.
        mask_after: The attention mask after splicing, as the model got it: how many ones.
        position_ids: First and last position id that the model got.
        embeddings: The spliced embeddings.
    """

    slots: tuple[int, ...]
    ids: int
    features: int
    added: int
    positions: int
    image_start: int | None
    image_stop: int | None
    mask_before: int
    mask_after: int
    position_ids: tuple[int, int] | None
    embeddings: TensorFacts | None


@dataclass(frozen=True)
class InferenceFacts:
    """From the question to the model's inputs (the seed's *Inference*).

    Attributes:
        question: The question.
        conversation: The conversation before and after the question was added, with the
            template's settings; None where the family has its own chat format.
        prompt: The prompt; None where only the ids are known.
        start: Ids before the first chunk (the beginning of a sequence).
        chunks: The prompt's pieces, each tokenised on its own.
        counts: ``1 + 34 + 1 + 14 = 50``: start, pieces, and their sum.
        ids: The prompt's ids, with -200 for an image slot.
        stop: The string at which an answer ends.
        image_size: Width and height of the image as given; None without one.
        images: The image as given, squared, as the model sees it, and under the patch grid.
        grid: Rows and columns of patches.
        pixels: The pixel tensor.
        encoded: The features of the vision tower.
        projected: The features in the language model's space.
        splicing: Where the image enters the prompt.
    """

    question: str
    conversation: Mapping[str, Any] | None
    prompt: str | None
    start: tuple[int, ...]
    chunks: tuple[Chunk, ...]
    counts: str
    ids: tuple[int, ...]
    stop: str | None
    image_size: tuple[int, int] | None
    images: tuple[Shown, ...]
    grid: tuple[int, int] | None
    pixels: TensorFacts | None
    encoded: TensorFacts | None
    projected: TensorFacts | None
    splicing: Splicing


@dataclass(frozen=True)
class GenerationFacts:
    """How the answer was generated (the seed's ``generate()``).

    Attributes:
        stages: The generation configuration: ``before``, ``after update``, ``after max tokens``.
        max_length_ids: The last stage's ``max_length`` counted as the original code does, with
            one id per image (the seed's 114).
        inputs: What `generate` handed to the loop besides the ids.
        processors: Logits processors, in order.
        warpers: Logits warpers (temperature, top-k, top-p), in order.
        criteria: Stopping criteria.
        mode: The generation mode that transformers decided on.
        flags: The same as the seed's flags, such as ``is_greedy_gen_mode``.
        special: Padding and end ids, and whether padding is among the inputs.
        cache: Kind, size and shape of the key-value cache.
        schedule: When the views were read: tracing reads all of them at every step.
        forwards: How many tokens were generated and how many rows the model read at once.
        memory: Memory of the process, and of the GPU where there is one.
    """

    stages: Mapping[str, Mapping[str, Any]]
    max_length_ids: int
    inputs: Mapping[str, str]
    processors: tuple[str, ...]
    warpers: tuple[str, ...]
    criteria: tuple[str, ...]
    mode: str
    flags: Mapping[str, bool]
    special: Mapping[str, Any]
    cache: Mapping[str, Any]
    schedule: str
    memory: Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """One call that the data makes.

    Attributes:
        depth: How deep inside other recorded calls.
        name: ``LlamaAttention.forward`` or a function's name.
        module: The module's name in the model, if it is one.
        place: ``transformers/models/llama/modeling_llama.py:246``, of the installed library.
        called_from: File and line of the caller.
        inputs: Shapes and types that went in, by argument.
        outputs: Shapes and types that came out; None if the call outlived the recording.
        repeats: How many layers in a row do the same; the others are folded into this one.
    """

    depth: int
    name: str
    module: str | None
    place: str
    called_from: str
    inputs: Mapping[str, str]
    outputs: str | None
    repeats: int = 1


@dataclass(frozen=True)
class Phase:
    """The calls of one phase, in order: encoding, prefill, or one decode step."""

    name: str
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class OutputFacts:
    """What `generate` returned (the seed's *output*).

    Attributes:
        ids: The answer's ids as generated, the end of the sequence included.
        sequence: The whole sequence with one id per image, as in the seed.
        text: The answer.
        kind: transformers' output class.
        fields: The class's fields, each described, None where not asked for.
    """

    ids: tuple[int, ...]
    sequence: tuple[int, ...]
    text: str
    kind: str
    fields: Mapping[str, str | None]


@dataclass(frozen=True)
class Candidate:
    """A token that a distribution considered."""

    id: int
    text: str
    probability: float
    logit: float


@dataclass(frozen=True)
class ViewOpinion:
    """What one view thought at one step.

    Attributes:
        view: The view's name.
        top: Its likeliest tokens.
        probability: What it gave the chosen token.
        rank: The chosen token's rank, from 1.
        entropy: How undecided it was, in bits.
        js: Jensen-Shannon divergence from the original view, in bits, 0 to 1.
    """

    view: str
    top: tuple[Candidate, ...]
    probability: float
    rank: int
    entropy: float
    js: float


@dataclass(frozen=True)
class TokenFacts:
    """Why one token was written.

    Attributes:
        index: Its place in the answer, from 0.
        id: Its id.
        piece: How the vocabulary writes it.
        text: What it adds to the answer.
        probability: What the final distribution gave it.
        final: The final distribution's likeliest tokens.
        views: What each view thought, the original first.
        cutoff: The plausibility cutoff as a logit of the original view, if there is one.
        cutoff_probability: The same as a probability.
        plausible: How many tokens survived it; None without the constraint.
        regular_id: The token that regular greedy decoding would have taken here.
        regular_text: Its text.
        changed: Whether the final distribution's likeliest token is another one.
        without_image: The probability of the token in the same place without the image, where
            that could be told.
        dependence: Bits by which the image raises the token's probability: log2(with / without).
    """

    index: int
    id: int
    piece: str
    text: str
    probability: float
    final: tuple[Candidate, ...]
    views: tuple[ViewOpinion, ...]
    cutoff: float | None
    cutoff_probability: float | None
    plausible: int | None
    regular_id: int
    regular_text: str
    changed: bool
    without_image: float | None = None
    dependence: float | None = None


@dataclass(frozen=True)
class Word:
    """A word of the answer.

    Attributes:
        text: The word, with the blanks before it.
        tokens: The places in the answer of the tokens that begin in it.
        dependence: Bits by which the image raises its probability; None where not known.
        object: The object that it names, if any.
    """

    text: str
    tokens: tuple[int, ...]
    dependence: float | None
    object: str | None


@dataclass(frozen=True)
class ViewFacts:
    """What one view saw.

    Attributes:
        name: The view's name.
        drawn: What it drew for this sample, in words.
        images: The image before and after the model's own preprocessing.
        prompt: Its prompt where it differs from the original's.
        positions: Length of its prompt in positions, image included.
        pixels: Its pixel tensor.
    """

    name: str
    drawn: str | None
    images: tuple[Shown, ...]
    prompt: str | None
    positions: int
    pixels: TensorFacts | None


@dataclass(frozen=True)
class Maps:
    """Many small non-negative maps, each as bytes relative to its own peak.

    Attributes:
        values: uint8 of shape (..., tokens, patches).
        peaks: float32 of shape (..., tokens): what 255 stands for.
    """

    values: npt.NDArray[np.uint8]
    peaks: npt.NDArray[np.float32]

    def to_dict(self) -> dict[str, Any]:
        """Shape, peaks, and the bytes in base64; a value is ``byte / 255 * peak``."""
        return {
            "shape": list(self.values.shape),
            "peaks": _rounded(self.peaks.ravel()),
            "uint8_base64": base64.b64encode(self.values.tobytes()).decode(),
        }


@dataclass(frozen=True)
class ViewAttention:
    """Attention of the answer's tokens to the patches, in one view.

    Each token's row is the attention at the position that predicts it.

    Attributes:
        view: The view's name.
        mean: Mean over layers and heads, float32 of shape (tokens, patches).
        layers: Mean over heads, one map per layer and token.
        heads: By layer, one map per head and token; for the layers that were asked for or fit.
        rollout: Attention rolled out through the layers, (tokens, patches), if it was asked for.
        image_share: How much attention goes to the image, all of it, (layers, tokens).
        grid: Rows and columns of the patches; None where they form no image.
    """

    view: str
    mean: npt.NDArray[np.float32]
    layers: Maps
    heads: Mapping[int, Maps]
    rollout: npt.NDArray[np.float32] | None
    image_share: npt.NDArray[np.float32]
    grid: tuple[int, int] | None

    def share(self, token: int) -> float:
        """How much of a token's attention goes to the image, mean over layers and heads."""
        return float(self.image_share[:, token].mean())

    def strongest(self, token: int) -> int:
        """The patch that a token attends to most, from 0 in reading order."""
        return int(self.mean[token].argmax())

    def to_dict(self) -> dict[str, Any]:
        """Plain data: `mean` as numbers, the maps as base64."""
        return {
            "view": self.view,
            "grid": None if self.grid is None else list(self.grid),
            "mean": [_rounded(row) for row in self.mean],
            "layers": self.layers.to_dict(),
            "heads": {str(layer): maps.to_dict() for layer, maps in self.heads.items()},
            "rollout": None if self.rollout is None else [_rounded(row) for row in self.rollout],
            "image_share": [_rounded(row) for row in self.image_share],
        }


@dataclass(frozen=True)
class LensLayer:
    """What one layer would have said for one token (logit lens).

    Attributes:
        layer: 0 for the embeddings, then 1 to the number of layers.
        top: The likeliest tokens if the model ended after this layer.
        probability: What it gives the token that was written.
        rank: That token's rank, from 1.
    """

    layer: int
    top: tuple[Candidate, ...]
    probability: float
    rank: int


@dataclass(frozen=True)
class Trace:
    """The record of one run: ``model.trace(image, question)``.

    Attributes:
        answer: The answer, with its provenance; the same one that `Model.answer` gives.
        config: What was loaded.
        inference: From the question to the model's inputs.
        generation: How the answer was generated.
        flow: The calls that the data made, by phase.
        output: What `generate` returned.
        tokens: Why each token was written.
        words: The answer by words.
        views: What each view saw.
        attention: Attention to the patches by view; empty if it was not asked for.
        lens: For each token, what each layer would have said; empty if not asked for.
        notes: What could not be recorded for this model, in words.
        seconds: How long each part of the trace took.
        kept: Names and shapes of the tensors that were kept whole.
    """

    answer: Answer
    config: ConfigFacts
    inference: InferenceFacts
    generation: GenerationFacts
    flow: tuple[Phase, ...]
    output: OutputFacts
    tokens: tuple[TokenFacts, ...]
    words: tuple[Word, ...]
    views: tuple[ViewFacts, ...]
    attention: tuple[ViewAttention, ...]
    lens: tuple[tuple[LensLayer, ...], ...]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    kept: Mapping[str, tuple[int, ...]]

    def to_dict(self) -> dict[str, Any]:
        """The record as plain data, ready for JSON."""
        return dict(self._plain)

    def to_json(self, *, indent: int | None = None) -> str:
        """The record as JSON."""
        return json.dumps(self._plain, ensure_ascii=False, indent=indent, allow_nan=False)

    def to_markdown(self) -> str:
        """The record as Markdown, in the order of the seed document; images are described."""
        from secondsight.trace.report import markdown

        return markdown(self)

    def to_html(self) -> str:
        """The record as one HTML file that needs nothing else."""
        from secondsight.trace.report import html

        return html(self)

    @cached_property
    def _plain(self) -> dict[str, Any]:
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def _plain(value: Any) -> Any:
    """Dataclasses, mappings and tuples as what JSON knows."""
    if isinstance(value, Maps | ViewAttention):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _rounded(values: npt.NDArray[np.float32]) -> list[float]:
    return [float(f"{value:.3g}") for value in values]
