"""What is recorded of a run: what was loaded, asked, prepared, called and returned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secondsight.trace.tensors import TensorFacts


@dataclass(frozen=True)
class ModuleParameters:
    """The parameters of one module of the model, or of several that belong together."""

    name: str
    module: str
    parameters: int
    bytes: int


@dataclass(frozen=True)
class ConfigFacts:
    """What was loaded.

    Attributes:
        tokenizer: Class, vocabulary, special tokens and other settings.
        model_name: How the model was asked for.
        model_class: Its class.
        model_config: Its configuration.
        stored_config: The checkpoint's own ``config.json``, of which that was made; None where
            there is none.
        modules: The module tree, repeated layers folded.
        image_processor: Its class and settings, if the family has one.
        context_length: Positions for prompt and answer together.
        parameters: Parameters by module, along the data; the last entry is the whole.
        dtype: The weights' type.
        device: Where the weights are.
        attention: The implementation of attention, by sub-model.
    """

    tokenizer: Mapping[str, Any]
    model_name: str
    model_class: str
    model_config: Mapping[str, Any]
    stored_config: Mapping[str, Any] | None
    modules: str
    image_processor: Mapping[str, Any] | None
    context_length: int
    parameters: tuple[ModuleParameters, ...]
    dtype: str
    device: str
    attention: Mapping[str, str]


@dataclass(frozen=True)
class ReportImage:
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
        ids: Number of ids with one slot per image (50 for LLaVA-1.5's own question).
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
    """From the question to the model's inputs.

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
    images: tuple[ReportImage, ...]
    grid: tuple[int, int] | None
    pixels: TensorFacts | None
    encoded: TensorFacts | None
    projected: TensorFacts | None
    splicing: Splicing


@dataclass(frozen=True)
class GenerationFacts:
    """How the answer was generated.

    Attributes:
        stages: The generation configuration: ``before``, ``after update``, ``after max tokens``.
        max_length_ids: The last stage's ``max_length`` counted as the original code does, with
            one id per image.
        inputs: What `generate` handed to the loop besides the ids.
        processors: Logits processors, in order.
        warpers: Logits warpers (temperature, top-k, top-p), in order.
        criteria: Stopping criteria.
        mode: The generation mode that transformers decided on.
        flags: The same in the words of transformers 4, such as ``is_greedy_gen_mode``.
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
    """What `generate` returned.

    Attributes:
        ids: The answer's ids as generated, the end of the sequence included.
        sequence: The whole sequence with one id per image, as the original code has it.
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
class ViewFacts:
    """What one view saw.

    Attributes:
        name: The view's name.
        choice: What it chose for this sample, in words.
        images: The image before and after the model's own preprocessing.
        prompt: Its prompt where it differs from the original's.
        positions: Length of its prompt in positions, image included.
        pixels: Its pixel tensor.
    """

    name: str
    choice: str | None
    images: tuple[ReportImage, ...]
    prompt: str | None
    positions: int
    pixels: TensorFacts | None
