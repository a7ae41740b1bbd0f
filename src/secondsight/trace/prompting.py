"""From the question to the model's inputs: conversation, prompt, ids, pixels, splicing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from secondsight.checkpoints.chat import ChatEncoder
from secondsight.checkpoints.llava import LlavaEncoder
from secondsight.inference.backbone import Backbone
from secondsight.inference.prepare import PreparedRequest
from secondsight.layout import PromptLayout
from secondsight.prompts import IMAGE_TOKEN_INDEX, Mark, Prompt, Turn
from secondsight.sample import Sample
from secondsight.trace.activations import PromptActivations
from secondsight.trace.facts import Chunk, InferenceFacts, ReportImage, Splicing, ViewFacts
from secondsight.trace.patches import Patches
from secondsight.trace.report_images import shown_image, shown_square, with_grid
from secondsight.trace.tensors import summarize

Inputs = Mapping[str, Any]


def inference_facts(
    backbone: Backbone,
    sample: Sample,
    inputs: Inputs,
    activations: PromptActivations,
    patches: Patches | None,
) -> InferenceFacts:
    """What became of a question and its image before the first layer.

    Args:
        backbone: The model.
        sample: The original sample, its images opened.
        inputs: The original view's inputs.
        activations: Those of the prompt in the live run.
        patches: Where the image's patches are.
    """
    layout = backbone.layout(inputs)
    start, chunks = _chunks(backbone, sample, inputs["input_ids"][0].tolist(), layout)
    counts = [*([len(start)] if start else []), *(chunk.count for chunk in chunks)]
    ids = (*start, *(token for chunk in chunks for token in chunk.ids))
    pixels = inputs.get("pixel_values")
    images = sample.images
    template = getattr(backbone.encoder, "template", None)
    return InferenceFacts(
        question=sample.question,
        conversation=_conversation(backbone, sample),
        prompt="".join("<image>" if one.kind == "image" else one.text for one in chunks),
        start=start,
        chunks=chunks,
        counts=" + ".join(map(str, counts)) + f" = {sum(counts)}",
        ids=ids,
        stop=None if template is None else template.stop,
        image_size=images[0].size if images else None,
        images=tuple(_way_to_the_model(backbone, sample, patches)),
        grid=None if patches is None else patches.grid,
        pixels=None if pixels is None else summarize(pixels),
        encoded=activations.encoded,
        projected=activations.projected,
        splicing=_splicing(ids, layout, activations),
    )


def view_facts(
    backbone: Backbone, prepared: PreparedRequest, patches: Sequence[Patches | None]
) -> tuple[ViewFacts, ...]:
    """What each view saw: its image, its prompt, its pixels."""
    prompts = [_prompt(backbone, sample) for sample in prepared.seen]
    facts = []
    for name, sample, inputs, prompt, own in zip(
        prepared.names, prepared.seen, prepared.inputs, prompts, patches, strict=True
    ):
        pixels = inputs.get("pixel_values")
        facts.append(
            ViewFacts(
                name=name,
                choice=sample.choice,
                images=tuple(_as_seen(sample, own)),
                prompt=str(prompt) if prompt is not None and prompt != prompts[0] else None,
                positions=int(inputs["input_ids"].shape[1]),
                pixels=None if pixels is None else summarize(pixels),
            )
        )
    return tuple(facts)


def _as_seen(sample: Sample, patches: Patches | None) -> list[ReportImage]:
    """A view's images as the view has them, and as they come out of the preprocessing."""
    shown = [shown_image("as the view has it", image) for image in sample.images]
    if patches is not None and patches.image is not None:
        shown.append(shown_image(patches.title, patches.image))
    return shown


def _way_to_the_model(
    backbone: Backbone, sample: Sample, patches: Patches | None
) -> list[ReportImage]:
    """The original's images: as given, squared, as the model sees them, under the grid."""
    shown = [shown_image("as given", image) for image in sample.images]
    encoder = backbone.encoder
    if isinstance(encoder, LlavaEncoder) and encoder.preset.pad:
        mean = encoder.processor.image_mean
        wide = [image for image in sample.images if image.width != image.height]
        shown += [shown_square("padded to a square", image, mean) for image in wide]
    if patches is not None and patches.image is not None and patches.grid is not None:
        shown.append(shown_image(patches.title, patches.image))
        rows, columns = patches.grid
        drawn = shown_image("", with_grid(patches.image, patches.grid)).uri
        title = f"the same under the grid of {rows} x {columns} patches"
        shown.append(ReportImage(title, *patches.image.size, drawn))
    return shown


def _prompt(backbone: Backbone, sample: Sample) -> Prompt | None:
    return backbone.encoder.prompt(sample) if isinstance(backbone.encoder, LlavaEncoder) else None


def _conversation(backbone: Backbone, sample: Sample) -> dict[str, Any] | None:
    """The conversation before and after the question; None for families that have none."""
    encoder = backbone.encoder
    if isinstance(encoder, LlavaEncoder):
        return _llava_conversation(encoder, sample)
    if not isinstance(encoder, ChatEncoder) or not encoder.templated:
        return None
    messages = [
        [message["role"], "".join(part.get("text", "<image>") for part in message["content"])]
        for message in encoder.conversation(sample)
    ]
    return {
        "template": "the checkpoint's own (chat_template)",
        "before": messages[:-1],
        "after": messages,
    }


def _llava_conversation(encoder: LlavaEncoder, sample: Sample) -> dict[str, Any]:
    template = encoder.template
    images = ["<image>\n" * len(images) for images in sample.images_by_turn]
    turns = [*sample.history, Turn(sample.question)]
    roles = (template.user.rstrip(": "), template.assistant.rstrip(": "))
    messages: list[list[str | None]] = []
    for number, turn in enumerate(turns):
        messages += [
            [roles[0], images[number] + turn.question],
            [roles[1], turn.answer],
        ]
    return {
        "template": template.name,
        "preset": encoder.preset.name,
        "system": template.system if sample.system is None else sample.system,
        "roles": list(roles),
        "separator": template.separator,
        "stop": template.stop,
        "question_with_image": messages[0][1],
        "before": messages[: 2 * len(sample.history)],
        "after": messages,
    }


def _chunks(
    backbone: Backbone, sample: Sample, positions: list[int], layout: PromptLayout
) -> tuple[tuple[int, ...], tuple[Chunk, ...]]:
    """The pieces of the prompt with their ids, as they stand in the model's inputs."""
    tokenizer = backbone.tokenizer
    bos = tokenizer.bos_token_id
    start = tuple(positions[:1]) if positions[:1] == [bos] else ()
    prompt = _prompt(backbone, sample)
    texts = iter([] if prompt is None else prompt.parts)
    chunks = []
    for kind, ids in _runs(positions, layout, tokenizer.eos_token_id, start=len(start)):
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
                with_start=len(shown) + (part is not None and kind == "text" and bool(start)),
            )
        )
    return start, tuple(chunks)


def _runs(
    ids: Sequence[int], layout: PromptLayout, end: int | None, *, start: int
) -> list[tuple[str, list[int]]]:
    """Ids from a position on, in runs: text, the positions of one image, the end of a turn."""
    image = {position for run in layout.image for position in run}
    runs: list[tuple[str, list[int]]] = []
    for position, token in enumerate(ids[start:], start=start):
        kind = "image" if position in image else "end" if token == end else "text"
        if runs and runs[-1][0] == kind and kind != "end":
            runs[-1][1].append(token)
        else:
            runs.append((kind, [token]))
    return runs


def _splicing(
    ids: tuple[int, ...], layout: PromptLayout, activations: PromptActivations
) -> Splicing:
    slots = tuple(index for index, token in enumerate(ids) if token == IMAGE_TOKEN_INDEX)
    return Splicing(
        slots=slots,
        ids=len(ids),
        features=layout.image_tokens // len(slots) if slots else 0,
        added=layout.length - len(ids),
        positions=layout.length,
        image_start=layout.image[0].start if layout.image else None,
        image_stop=layout.image_end if layout.image else None,
        mask_before=len(ids),
        mask_after=activations.mask_ones if activations.mask_ones is not None else layout.length,
        position_ids=activations.position_ids,
        embeddings=activations.embeddings,
    )
