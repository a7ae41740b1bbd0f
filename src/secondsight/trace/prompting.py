"""From the question to the model's inputs: conversation, prompt, ids, pixels, splicing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from secondsight.images import pad_to_square
from secondsight.models.llava import LlavaEncoder
from secondsight.prompts import IMAGE_TOKEN_INDEX, Mark, Prompt, Turn
from secondsight.sample import Sample
from secondsight.trace.pictures import picture, seen, with_grid
from secondsight.trace.record import Chunk, InferenceFacts, Picture, Splicing, ViewFacts
from secondsight.trace.spine import Spine
from secondsight.trace.tensors import summarize

if TYPE_CHECKING:
    from secondsight.models.model import Model

Inputs = Mapping[str, Any]


def inference_facts(model: Model, sample: Sample, inputs: Inputs, spine: Spine) -> InferenceFacts:
    """What became of a question and its picture before the first layer.

    Args:
        model: The model.
        sample: The original sample, its picture opened.
        inputs: The original view's inputs.
        spine: What passed between the model's parts in the live run.
    """
    image_token = image_token_id(model)
    positions = inputs["input_ids"][0].tolist()
    start, chunks = _chunks(model, sample, positions, image_token)
    counts = [*([len(start)] if start else []), *(chunk.count for chunk in chunks)]
    ids = (*start, *(token for chunk in chunks for token in chunk.ids))
    grid = patch_grid(inputs, image_token)
    pixels = inputs.get("pixel_values")
    prompt = _prompt(model, sample)
    template = getattr(model.encoder, "template", None)
    return InferenceFacts(
        question=sample.question,
        conversation=_conversation(model, sample),
        prompt=None if prompt is None else str(prompt),
        start=start,
        chunks=chunks,
        counts=" + ".join(map(str, counts)) + f" = {sum(counts)}",
        ids=ids,
        stop=None if template is None else template.stop,
        image_size=sample.image.size if isinstance(sample.image, Image.Image) else None,
        pictures=tuple(view_pictures(model, sample, pixels, grid=grid)),
        grid=grid,
        pixels=None if pixels is None else summarize(pixels),
        encoded=spine.encoded,
        projected=spine.projected,
        splicing=_splicing(ids, positions, image_token, spine),
    )


def view_facts(
    model: Model,
    names: Sequence[str],
    samples: Sequence[Sample],
    views: Sequence[Inputs],
) -> tuple[ViewFacts, ...]:
    """What each view saw: its picture, its prompt, its pixels."""
    prompts = [_prompt(model, sample) for sample in samples]
    facts = []
    for name, sample, inputs, prompt in zip(names, samples, views, prompts, strict=True):
        pixels = inputs.get("pixel_values")
        facts.append(
            ViewFacts(
                name=name,
                drawn=sample.drawn,
                pictures=tuple(view_pictures(model, sample, pixels)),
                prompt=str(prompt) if prompt is not None and prompt != prompts[0] else None,
                positions=int(inputs["input_ids"].shape[1]),
                pixels=None if pixels is None else summarize(pixels),
            )
        )
    return tuple(facts)


def view_pictures(
    model: Model,
    sample: Sample,
    pixels: torch.Tensor | None,
    *,
    grid: tuple[int, int] | None = None,
) -> list[Picture]:
    """A view's picture as given to the model's preprocessing and as it comes out of it."""
    if not isinstance(sample.image, Image.Image) or pixels is None:
        return []
    shown = [picture("as given" if grid else "as the view has it", sample.image)]
    encoder = model.encoder
    processor = getattr(encoder, "processor", None)
    if grid and isinstance(encoder, LlavaEncoder) and encoder.preset.pad:
        squared = pad_to_square(sample.image, encoder.processor.image_mean)
        shown.append(picture("padded to a square", squared))
    final = seen(pixels, processor)
    if final is not None:
        shown.append(picture("as the model sees it: resized, cropped, normalised", final))
        if grid:
            cells = f"{grid[0]} x {grid[1]} patches"
            shown.append(
                Picture(
                    f"the same under the grid of {cells}",
                    *final.size,
                    picture("", with_grid(final, grid)).uri,
                )
            )
    return shown


def image_token_id(model: Model) -> int | None:
    """The id that stands for one patch in the model's inputs."""
    found: int | None = getattr(model.hf_model.config, "image_token_id", None)
    return found


def patch_grid(inputs: Inputs, image_token: int | None) -> tuple[int, int] | None:
    """Rows and columns of patches, where they form the picture's grid in reading order."""
    pixels = inputs.get("pixel_values")
    if pixels is None or pixels.ndim != 4 or image_token is None:
        return None
    count = int((inputs["input_ids"][0] == image_token).sum())
    height, width = pixels.shape[-2:]
    rows = round((count * height / width) ** 0.5)
    return (rows, count // rows) if rows and rows * (count // rows) == count else None


def _prompt(model: Model, sample: Sample) -> Prompt | None:
    return model.encoder.prompt(sample) if isinstance(model.encoder, LlavaEncoder) else None


def _conversation(model: Model, sample: Sample) -> dict[str, Any] | None:
    encoder = model.encoder
    if not isinstance(encoder, LlavaEncoder):
        return None
    template = encoder.template
    image = "<image>\n" if sample.image is not None else ""
    turns = [*sample.history, Turn(sample.question)]
    roles = (template.user.rstrip(": "), template.assistant.rstrip(": "))
    messages: list[list[str | None]] = []
    for number, turn in enumerate(turns):
        messages += [
            [roles[0], (image if number == 0 else "") + turn.question],
            [roles[1], turn.answer],
        ]
    return {
        "template": template.name,
        "preset": encoder.preset.name,
        "system": template.system,
        "roles": list(roles),
        "separator": template.separator,
        "stop": template.stop,
        "question_with_image": messages[0][1],
        "before": messages[: 2 * len(sample.history)],
        "after": messages,
    }


def _chunks(
    model: Model, sample: Sample, positions: list[int], image_token: int | None
) -> tuple[tuple[int, ...], tuple[Chunk, ...]]:
    """The pieces of the prompt with their ids, as they stand in the model's inputs."""
    tokenizer = model.tokenizer
    bos = tokenizer.bos_token_id
    start = tuple(positions[:1]) if positions[:1] == [bos] else ()
    prompt = _prompt(model, sample)
    texts = iter([] if prompt is None else prompt.parts)
    pieces = _runs(positions[len(start) :], image_token, tokenizer.eos_token_id)
    chunks = []
    for kind, ids in pieces:
        part = next(texts, None)
        text = part.value if isinstance(part, Mark) else part
        shown = (IMAGE_TOKEN_INDEX,) if kind == "image" else tuple(ids)
        names = ["<image>"] if kind == "image" else tokenizer.convert_ids_to_tokens(ids)
        chunks.append(
            Chunk(
                text=text if text is not None else tokenizer.decode(ids),
                kind=kind,
                ids=shown,
                tokens=tuple(map(str, names)),
                count=len(shown),
                with_start=len(shown) + (kind == "text" and bool(start)),
            )
        )
    return start, tuple(chunks)


def _runs(
    ids: Sequence[int], image_token: int | None, end: int | None
) -> list[tuple[str, list[int]]]:
    """Ids in runs: text, the positions of one image, the end of a turn."""
    runs: list[tuple[str, list[int]]] = []
    for token in ids:
        kind = "image" if token == image_token else "end" if token == end else "text"
        if runs and runs[-1][0] == kind and kind != "end":
            runs[-1][1].append(token)
        else:
            runs.append((kind, [token]))
    return runs


def _splicing(
    ids: tuple[int, ...], positions: list[int], image_token: int | None, spine: Spine
) -> Splicing:
    slots = tuple(index for index, token in enumerate(ids) if token == IMAGE_TOKEN_INDEX)
    places = [index for index, token in enumerate(positions) if token == image_token]
    return Splicing(
        slots=slots,
        ids=len(ids),
        features=len(places) // len(slots) if slots else 0,
        added=len(positions) - len(ids),
        positions=len(positions),
        image_start=places[0] if places else None,
        image_stop=places[-1] + 1 if places else None,
        mask_before=len(ids),
        mask_after=spine.mask_ones if spine.mask_ones is not None else len(positions),
        position_ids=spine.position_ids,
        embeddings=spine.embeddings,
    )
