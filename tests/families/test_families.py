"""Every family of models: each method against slow forwards, batches, schedules, streams.

Nothing here is downloaded: tiny random models, the families' own processors, tokenizers trained
on a few lines. ``docs/models.md`` holds the table of what works, which `test_table` checks.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

import secondsight
from secondsight.decoding.sampling import derive_seed, generator
from secondsight.errors import UnsupportedError
from secondsight.methods import Method, create
from secondsight.methods.base import parameter
from secondsight.views import Original, Transformed, View

from .builders import FAMILIES, Built
from .conftest import Loaded

TOKENS = 6
QUESTIONS = ("Is there a dog in the image?", "How many people ride the bus? One, two or three?")
METHODS = ("ritual", "vcd", "m3id:decay=0.5", "ritual+vcd", "ritual+m3id:decay=0.5", "late")
IMAGE_FREE = ("m3id", "ritual+m3id", "lcd")
NO_IMAGE_FREE_FORM = ("InstructBLIP", "BLIP-2 (OPT)")
NOT_SHARED = ("Gemma 3", "PaliGemma", "PaliGemma 2", "InstructBLIP")
"""A window counted along the cache, prefixes that see all of themselves, a Q-Former that reads."""
DOCS = Path(__file__).parents[2] / "docs" / "models.md"


@secondsight.register("late")
@dataclass(frozen=True)
class Late(Method):
    """A view that is read for the first time when tokens have been written."""

    source: ClassVar[str] = "test"
    first: int = parameter(3, "first step that needs the view")

    def views(self, sample: secondsight.Sample) -> tuple[View, ...]:
        return (Original(), Transformed("vflip"))

    def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        return logits[0] + 3 * (step >= self.first) * logits[1]

    def needs_views(
        self, logits: torch.Tensor, plausible: torch.Tensor | None, step: int
    ) -> torch.Tensor:
        return super().needs_views(logits, plausible, step) & (step >= self.first)


@cache
def two_images() -> tuple[Image.Image, Image.Image]:
    """A wide and a square image, so that tiles and patches differ in number."""
    random = np.random.default_rng(0)
    sizes = ((40, 64, 3), (30, 30, 3))
    wide, square = (random.integers(0, 255, size, dtype=np.uint8) for size in sizes)
    return Image.fromarray(wide), Image.fromarray(square)


def samples() -> list[secondsight.Sample]:
    wide, square = two_images()
    return [
        secondsight.Sample(wide, QUESTIONS[0], id="a"),
        secondsight.Sample(square, QUESTIONS[1], id="b"),
        secondsight.Sample(wide, QUESTIONS[1], id="c"),
    ]


def official_inputs(built: Built, question: str, *images: Image.Image) -> dict[str, Any]:
    """What the family's documentation has its users do."""
    if built.prompt is not None:
        text = built.prompt.format(question=question)
        if len(images) > 1:
            text = built.processor.image_token * (len(images) - 1) + text
        return dict(built.processor(images=list(images), text=text, return_tensors="pt"))
    shown = [{"type": "image", "image": image} for image in images]
    content = [*shown, {"type": "text", "text": question}]
    return dict(
        built.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    )


def generated(built: Built, sample: secondsight.Sample) -> tuple[int, ...]:
    """A sample's greedy answer by transformers' own `generate`."""
    inputs = official_inputs(built, sample.question, *sample.images)
    inputs.pop("labels", None)
    sequence = built.model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    written = sequence[0].tolist()
    if len(written) > TOKENS:
        written = written[inputs["input_ids"].shape[1] :]
    return up_to_end(built, written)


def up_to_end(built: Built, ids: list[int]) -> tuple[int, ...]:
    end = built.model.generation_config.eos_token_id
    return tuple(ids[: ids.index(end)] if end in ids else ids)


def longer(built: Built, inputs: dict[str, Any], token: int) -> dict[str, Any]:
    """The inputs with one more token of the answer."""
    suffix = {
        "input_ids": token,
        "attention_mask": 1,
        "token_type_ids": int("PaliGemma" in type(built.model).__name__),
        "mm_token_type_ids": 0,
    }
    return {
        key: torch.cat([value, torch.full((1, 1), suffix[key], dtype=value.dtype)], dim=1)
        if key in suffix
        else value
        for key, value in inputs.items()
    }


def by_hand(name: str, logits: list[torch.Tensor], step: int) -> torch.Tensor:
    """The methods' formulas, written down once more."""
    original = logits[0]
    growing = math.exp(0.5 * step) - 1
    if name == "ritual":
        scores = original + 3 * logits[1]
    elif name == "vcd":
        scores = 2 * original - logits[1]
    elif name == "m3id":
        scores = original + growing * (original - logits[1])
    elif name == "ritual+vcd":
        scores = original + 3 * logits[1] + (original - logits[2])
    elif name == "ritual+m3id":
        scores = original + 3 * logits[1] + growing * (original - logits[2])
    else:
        scores = original + 3 * (step >= 3) * logits[1]
    return scores.masked_fill(original < original.max() + math.log(0.1), -math.inf)


@torch.no_grad()
def slow(family: Loaded, sample: secondsight.Sample, spec: str) -> tuple[int, ...]:
    """A method's answer from separate forward passes without a cache, greedy."""
    built, method = family.built, create(spec)
    draws = generator(derive_seed(derive_seed(0, f"id {sample.id}"), "views"))
    opened = sample.opened()
    views = [
        family.model.encoder.encode(view.apply(opened, draws)) for view in method.views(sample)
    ]
    ids: list[int] = []
    for step in range(TOKENS):
        logits = [built.model(**view, use_cache=False).logits[0, -1] for view in views]
        if step == 0:
            assert all((logits[0] - other).abs().max() > 1e-3 for other in logits[1:])
        token = int(by_hand(method.name, logits, step).argmax())
        ids.append(token)
        views = [longer(built, view, token) for view in views]
    return up_to_end(built, ids)


def answers(
    family: Loaded, spec: str, schedule: str, batch_size: int, **options: Any
) -> list[tuple[int, ...]]:
    written = family.model.answer_batch(
        samples(),
        spec,
        max_new_tokens=TOKENS,
        schedule=schedule,
        batch_size=batch_size,
        **options,
    )
    return [answer.ids for answer in written]


def refused(family: Loaded, spec: str) -> bool:
    return family.name in NO_IMAGE_FREE_FORM and spec.split(":")[0] in IMAGE_FREE


def test_regular_is_generate(family: Loaded) -> None:
    """Token for token what the family's own processor and `generate` give."""
    ours = answers(family, "regular", "auto", 1)
    assert ours == answers(family, "regular", "auto", 3)
    for sample, ids in zip(samples(), ours, strict=True):
        assert ids == generated(family.built, sample)


@pytest.mark.parametrize("spec", METHODS)
def test_methods(family: Loaded, spec: str) -> None:
    """Alone and in batches, whatever the schedule: what slow forwards give."""
    if refused(family, spec):
        with pytest.raises(secondsight.UnsupportedError, match="no form without an image"):
            answers(family, spec, "joint", 1)
        return
    expected = [slow(family, sample, spec) for sample in samples()]
    assert answers(family, spec, "joint", 1) == expected
    assert answers(family, spec, "lazy", 1) == expected
    assert answers(family, spec, "lazy", 3) == expected
    assert answers(family, spec, "auto", 2) == expected


def test_sampling_does_not_depend_on_the_batch(family: Loaded) -> None:
    drawn = {"temperature": 1.0, "seed": 5}
    alone = answers(family, "ritual+vcd", "joint", 1, **drawn)
    assert alone == answers(family, "ritual+vcd", "lazy", 3, **drawn)


def test_streaming_is_the_whole(family: Loaded) -> None:
    wide, _ = two_images()
    whole = family.model.answer(wide, QUESTIONS[0], "ritual", max_new_tokens=TOKENS)
    with family.model.stream(wide, QUESTIONS[0], "ritual", max_new_tokens=TOKENS) as stream:
        assert "".join(stream) == whole.text
    assert stream.answer is not None
    assert stream.answer.ids == whole.ids


def test_without_an_image(family: Loaded) -> None:
    """The conversation without an image, not another conversation."""
    sample = secondsight.Sample(None, QUESTIONS[0])
    if family.name in NO_IMAGE_FREE_FORM:
        with pytest.raises(secondsight.UnsupportedError, match="no form without an image"):
            family.model.encode(None, QUESTIONS[0])
        return
    seen = family.model.encode(two_images()[0], QUESTIONS[0])["input_ids"][0].tolist()
    blind = family.model.encode(None, QUESTIONS[0])
    assert not any("pixel" in key or "image" in key for key in blind)
    rest = iter(seen)
    assert all(token in rest for token in blind["input_ids"][0].tolist())  # in order
    assert family.model.answer_batch([sample, *samples()], max_new_tokens=3)


def test_several_images(family: Loaded) -> None:
    """All of a question's images in their order, in a batch with other numbers of them."""
    wide, square = two_images()
    if family.name in NO_IMAGE_FREE_FORM:
        with pytest.raises(secondsight.UnsupportedError, match=r"takes one image.* 2 were given"):
            family.model.encode((wide, square), QUESTIONS[0])
        return
    orders = [secondsight.Sample(both, QUESTIONS[0]) for both in ((wide, square), (square, wide))]
    first, second = (family.model.encode_sample(sample) for sample in orders)
    assert any(not torch.equal(first[key], second[key]) for key in first)
    batch = [*orders, *samples(), secondsight.Sample(None, QUESTIONS[0])]
    written = family.model.answer_batch(batch, max_new_tokens=TOKENS)
    for sample, answer in zip(batch[:-1], written, strict=False):
        assert answer.ids == generated(family.built, sample)


@pytest.mark.parametrize("spec", ["ritual+vcd", "m3id:decay=0.5"])
def test_methods_on_several_images(family: Loaded, spec: str) -> None:
    two = secondsight.Sample(two_images(), QUESTIONS[0], id="two")
    if family.name in NO_IMAGE_FREE_FORM:
        with pytest.raises(secondsight.UnsupportedError):
            family.model.answer_batch([two], spec, max_new_tokens=TOKENS)
        return
    written = family.model.answer_batch(
        [two, *samples()], spec, max_new_tokens=TOKENS, schedule="lazy"
    )
    assert written[0].ids == slow(family, two, spec)


def test_questions_on_one_image_share_its_pass(family: Loaded) -> None:
    """The prompt up to the question is read once where nothing in it sees the question."""
    family.model.prefixes.clear()
    apart = [answers(family, "vcd", "joint", 1)[place] for place in (0, 2)]
    family.model.prefixes.clear()
    wide, _ = two_images()
    together = family.model.answer_batch(
        [samples()[0], samples()[2]], "vcd", max_new_tokens=TOKENS, schedule="joint"
    )
    assert [answer.ids for answer in together] == apart
    kept = len(family.model.prefixes)
    assert kept == (0 if family.name in NOT_SHARED else 3)  # the image, and its noise for each
    again = family.model.answer(wide, QUESTIONS[0], max_new_tokens=TOKENS)
    assert again.ids == generated(family.built, samples()[0])
    assert len(family.model.prefixes) == kept


def test_text_forges_nothing(family: Loaded) -> None:
    """Special tokens that a user writes are text; the image keeps its number of positions."""
    tokenizer = family.model.tokenizer
    forged = [*tokenizer.all_special_tokens, family.built.processor.image_token]
    text = " ".join(str(token) for token in forged) + " What is this?"
    inputs = family.model.encode(two_images()[0], text)
    plain = family.model.encode(two_images()[0], "What is this?")

    def special(ids: torch.Tensor) -> int:
        return int(torch.isin(ids, torch.tensor(tokenizer.all_special_ids)).sum())

    assert special(inputs["input_ids"]) == special(plain["input_ids"])


def test_conversations(family: Loaded) -> None:
    """Earlier turns are templated; families for single questions say that they are."""
    history = [secondsight.Turn("What is this?", "A cat.")]
    if family.built.prompt is not None:
        with pytest.raises(secondsight.UnsupportedError, match="single questions"):
            family.model.encode(two_images()[0], QUESTIONS[0], history=history)
        return
    inputs = family.model.encode(two_images()[0], QUESTIONS[0], history=history)
    text = family.model.tokenizer.decode(inputs["input_ids"][0])
    assert "A cat.<|end|><|user|>Is there a dog" in text
    assert family.model.answer(
        two_images()[0], QUESTIONS[0], "vcd", history=history, max_new_tokens=2
    )


def test_system_texts(family: Loaded) -> None:
    """Text before the first turn is templated, or refused: never left out in silence."""
    sample = secondsight.Sample(two_images()[0], QUESTIONS[0], system="Answer in one word.")
    try:
        inputs = family.model.encode_sample(sample)
    except secondsight.UnsupportedError as error:
        assert "system text" in str(error)  # noqa: PT017 - either is right, by family
    else:
        text = family.model.tokenizer.decode(inputs["input_ids"][0])
        assert "Answer in one word." in text


def test_instructblip_without_an_image_token(tmp_path: Path) -> None:
    """Old checkpoints know no image token; the answers are those of new ones."""
    built = FAMILIES["InstructBLIP"]()
    answered = []
    for name, token in (("new", built.model.config.image_token_index), ("old", None)):
        built.model.config.image_token_index = token
        built.model.save_pretrained(tmp_path / name)
        built.processor.save_pretrained(tmp_path / name)
        model = secondsight.load(tmp_path / name, device="cpu")
        written = model.answer_batch(samples(), "ritual+vcd", max_new_tokens=TOKENS)
        answered.append([answer.ids for answer in written])
        assert (name == "old") == (model.hf_model.config.image_token_index != token)
    assert answered[0] == answered[1]


def test_a_checkpoint_that_asks_for_another_cache(tmp_path: Path) -> None:
    """As Gemma's do; the loop brings its own."""
    built = FAMILIES["Gemma 3"]()
    built.model.save_pretrained(tmp_path)
    built.processor.save_pretrained(tmp_path)
    path = tmp_path / "generation_config.json"
    asked = {**json.loads(path.read_text()), "cache_implementation": "hybrid"}
    path.write_text(json.dumps(asked))
    model = secondsight.load(tmp_path, device="cpu")
    assert model.answer(two_images()[0], QUESTIONS[0], "vcd", max_new_tokens=2).ids


def test_a_checkpoint_without_a_chat_template(tmp_path: Path) -> None:
    built = FAMILIES["LLaVA-NeXT"]()
    built.processor.chat_template = None
    built.model.save_pretrained(tmp_path)
    built.processor.save_pretrained(tmp_path)
    with pytest.raises(secondsight.UnsupportedError, match="no chat template"):
        secondsight.load(tmp_path, device="cpu")


def test_the_checkpoints_own_code_runs_only_if_asked(tmp_path: Path) -> None:
    """A family that transformers does not know: refused, with the risk; loaded when trusted."""
    built = FAMILIES["LLaVA-NeXT"]()
    built.model.save_pretrained(tmp_path)
    built.processor.save_pretrained(tmp_path)
    weights = {name: value.clone() for name, value in built.model.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_type"] = "mine"
    config["auto_map"] = {
        "AutoConfig": "own_code.MyConfig",
        "AutoModelForImageTextToText": "own_code.MyModel",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own_code.py").write_text(
        "from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration\n"
        "class MyConfig(LlavaNextConfig):\n    model_type = 'mine'\n"
        "class MyModel(LlavaNextForConditionalGeneration):\n    config_class = MyConfig\n"
    )
    with pytest.raises(secondsight.CheckpointError, match="all the rights of this process"):
        secondsight.load(tmp_path, device="cpu")
    model = secondsight.load(tmp_path, device="cpu", trust_remote_code=True)
    assert type(model.hf_model).__name__ == "MyModel"
    assert model.answer(two_images()[0], QUESTIONS[0], "vcd", max_new_tokens=2).ids


def test_an_old_transformers_that_would_fail_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four tokens an image, and 5.20 counts them in sevens."""
    built = FAMILIES["SmolVLM"]()
    built.model.save_pretrained(tmp_path)
    built.processor.save_pretrained(tmp_path)
    monkeypatch.setattr(transformers, "__version__", "5.20.2")
    with pytest.raises(UnsupportedError, match=r"4 tokens an image.*5\.20\.2 cannot divide by 7"):
        secondsight.load(tmp_path, device="cpu")


def table() -> str:
    """What works on which family, as the documentation shows it."""
    methods = ("regular", "ritual", "vcd", "m3id", "ritual+vcd", "ritual+m3id")
    methods += ("icd", "lcd", "agla", "dola", "deco", "only", "revisit")
    lines = [
        f"| family | {' | '.join(methods)} |",
        f"|---|{'---|' * len(methods)}",
    ]
    for name in FAMILIES:
        cells = [
            "refused [1]" if name in NO_IMAGE_FREE_FORM and method in IMAGE_FREE else "works"
            for method in methods
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_table() -> None:
    """The documentation's table is this file's; ``python -m pytest`` prints it where it is not."""
    assert table() in DOCS.read_text(encoding="utf-8"), f"docs/models.md should hold:\n{table()}"
