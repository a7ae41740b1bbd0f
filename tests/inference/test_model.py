"""`Model`: answering, batches, evidence, provenance, one's own methods, and what is refused."""

from __future__ import annotations

import gc
import json
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from PIL import Image

import secondsight
import secondsight.views
from secondsight import Answer, ImageError, Method, MethodError, QuestionError, Sample, UserError
from secondsight.methods import parameter
from secondsight.prompts import Turn
from secondsight.views import NoImage, Original, View

TOKENS = 14
QUESTION = "Is there a dog in the image?"
METHODS = ("regular", "ritual", "vcd", "m3id", "ritual+vcd", "ritual+m3id", "ritual+", "identity")

MakeImage = Callable[..., Image.Image]


def same(one: Answer, two: Answer) -> bool:
    return (one.ids, one.text, one.finish_reason) == (two.ids, two.text, two.finish_reason)


@pytest.fixture
def ends(model: secondsight.Model, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], None]:
    """Lets answers end at other ids."""

    def set_ends(ids: list[int]) -> None:
        monkeypatch.setattr(model.hf_model.generation_config, "eos_token_id", ids)

    return set_ends


@pytest.mark.parametrize("temperature", [0.0, 2.0])
@pytest.mark.parametrize("method", METHODS)
def test_an_answer(
    model: secondsight.Model, make_image: MakeImage, method: str, temperature: float
) -> None:
    options: dict[str, Any] = {"max_new_tokens": TOKENS, "temperature": temperature, "seed": 3}
    answer = model.answer(make_image(1), QUESTION, method, **options)
    assert 1 <= len(answer.ids) <= TOKENS
    assert answer.text == model.tokenizer.decode(answer.ids, skip_special_tokens=True).strip()
    assert str(answer) == answer.text
    assert answer.finish_reason in ("eos", "length")
    assert answer.evidence is None
    assert {"encode", "generate", "first_token"} <= set(answer.timings)
    assert 0 <= answer.timings["first_token"] <= answer.timings["generate"]
    assert same(answer, model.answer(make_image(1), QUESTION, method, **options))


def test_answer_is_decode_on_encode(model: secondsight.Model, make_image: MakeImage) -> None:
    answer = model.answer(make_image(1), QUESTION, "m3id:decay=0.5", max_new_tokens=TOKENS)
    inputs = model.encode(make_image(1), QUESTION)
    ids = model.hf_model.generate(
        **inputs,
        custom_generate=secondsight.decode,
        method="m3id:decay=0.5",
        views=[model.encode(None, QUESTION)],
        do_sample=False,
        max_new_tokens=TOKENS,
    )
    assert list(answer.ids) == ids[0, inputs["input_ids"].shape[1] :].tolist()


def test_encode(model: secondsight.Model, make_image: MakeImage) -> None:
    inputs = model.encode(make_image(1), QUESTION)
    assert set(inputs) == {"input_ids", "attention_mask", "pixel_values"}
    assert inputs["input_ids"].shape == inputs["attention_mask"].shape
    assert inputs["input_ids"].shape[0] == 1
    assert inputs["pixel_values"].shape == (1, 3, 42, 42)
    assert int((inputs["input_ids"] == model.hf_model.config.image_token_id).sum()) == 9
    without = model.encode(None, QUESTION)
    assert set(without) == {"input_ids", "attention_mask"}
    kept = inputs["input_ids"][inputs["input_ids"] != model.hf_model.config.image_token_id]
    assert without["input_ids"][0].tolist() == kept.tolist()
    longer = model.encode(make_image(1), QUESTION, history=[Turn("A?", "B.")])
    assert longer["input_ids"].shape[1] > inputs["input_ids"].shape[1]
    assert 2 in longer["input_ids"]


def test_seeds(model: secondsight.Model, make_image: MakeImage) -> None:
    def write(seed: int, sample_id: str | None = None) -> tuple[int, ...]:
        sample = Sample(make_image(1), QUESTION, id=sample_id)
        return model.answer_batch(
            [sample], "ritual", temperature=2.0, seed=seed, max_new_tokens=TOKENS
        )[0].ids

    assert write(1) == write(1)
    assert len({write(seed) for seed in range(4)}) > 1
    assert len({write(1, f"s{number}") for number in range(4)}) > 1
    assert write(1, "a") == write(1, "a")


def test_greedy_does_not_switch_the_method_off(
    model: secondsight.Model, make_image: MakeImage
) -> None:
    texts = {
        method: [
            model.answer(make_image(i), QUESTION, method, max_new_tokens=TOKENS).ids
            for i in range(3)
        ]
        for method in ("regular", "ritual:transform=vflip", "vcd", "m3id:decay=0.3")
    }
    regular = texts.pop("regular")
    for method, ids in texts.items():
        assert ids != regular, method


def test_a_tiny_temperature_is_greedy(model: secondsight.Model, make_image: MakeImage) -> None:
    greedy = model.answer(make_image(1), QUESTION, "vcd", max_new_tokens=TOKENS)
    for temperature in (1e-3, 1e-6, 1e-30, 1e-45):
        cold = model.answer(
            make_image(1), QUESTION, "vcd", temperature=temperature, max_new_tokens=TOKENS
        )
        assert cold.ids == greedy.ids, temperature


def test_relations(model: secondsight.Model, make_image: MakeImage) -> None:
    def write(method: str, temperature: float = 0.0) -> tuple[int, ...]:
        return model.answer(
            make_image(2), QUESTION, method, temperature=temperature, max_new_tokens=TOKENS, seed=5
        ).ids

    greedy = write("regular")
    for temperature in (0.0, 1.0, 3.0):
        assert write("greedy", temperature) == greedy
        assert write("ritual:beta=1", temperature) == greedy
        assert write("vcd:beta=1", temperature) == greedy
        assert write("m3id:beta=1", temperature) == greedy
        assert write("apc:beta=1", temperature) == greedy
    assert write("apc") == greedy
    for temperature in (0.0, 2.0):
        assert write("ritual:alpha=0", temperature) == write("apc", temperature)
        assert write("vcd:alpha=0", temperature) == write("apc", temperature)
        assert write("m3id:decay=0", temperature) == write("apc", temperature)
        assert write("identity:beta=0", temperature) == write("sharpened", temperature)
        assert write("sharpened:temperature=1", temperature) == write("regular", temperature)


def test_the_end_is_no_part_of_the_answer(
    model: secondsight.Model, make_image: MakeImage, ends: Callable[[list[int]], None]
) -> None:
    free = model.answer(make_image(1), QUESTION, max_new_tokens=TOKENS)
    assert free.finish_reason == "length"
    assert len(free.ids) == TOKENS
    ends([2, free.ids[5]])
    first = free.ids.index(free.ids[5])
    ended = model.answer(make_image(1), QUESTION, max_new_tokens=TOKENS, evidence=True)
    assert ended.finish_reason == "eos"
    assert ended.ids == free.ids[:first]
    assert ended.evidence is not None
    assert len(ended.evidence) == first


def printable(model: secondsight.Model, make_image: MakeImage) -> tuple[Answer, int, str]:
    """An answer, and a token in its midst that spells something."""
    answer = model.answer(make_image(1), QUESTION, max_new_tokens=30)
    for place, token in enumerate(answer.ids[3:], start=3):
        text = model.tokenizer.decode([token])
        if text.isascii() and len(text.strip()) > 1 and answer.text.count(text) == 1:
            return answer, place, text
    raise AssertionError("no printable token")


def test_stop_strings(model: secondsight.Model, make_image: MakeImage) -> None:
    free, place, stop = printable(model, make_image)
    for given in (stop, [stop], ["never this", stop], [stop[1:]]):
        stopped = model.answer(make_image(1), QUESTION, max_new_tokens=30, stop=given)
        cut = given if isinstance(given, str) else given[-1]
        assert stopped.finish_reason == "stop"
        assert stopped.ids == free.ids[: place + 1]
        assert stopped.text == free.text[: free.text.index(cut)].rstrip()
    [batched, other] = model.answer_batch(
        [(make_image(1), QUESTION), (make_image(7), "What colour?")], max_new_tokens=30, stop=stop
    )
    assert (batched.text, batched.ids) == (stopped.text[: len(batched.text)], free.ids[: place + 1])
    assert same(other, model.answer(make_image(7), "What colour?", max_new_tokens=30, stop=stop))


def test_a_stop_string_of_white_space(model: secondsight.Model, make_image: MakeImage) -> None:
    newline = model.tokenizer.encode("\n", add_special_tokens=False)[-1]
    assert model.tokenizer.decode([newline]) == "\n"
    free = model.answer(make_image(1), QUESTION, max_new_tokens=TOKENS)
    rows = model.hf_model.lm_head.weight.data
    swap, back = [newline, free.ids[3]], [free.ids[3], newline]
    rows[swap] = rows[back]  # the fourth token of the answer is now a newline
    try:
        answer = model.answer(make_image(1), QUESTION, max_new_tokens=TOKENS, stop="\n")
    finally:
        rows[swap] = rows[back]
    assert answer.ids == (*free.ids[:3], newline)
    assert answer.finish_reason == "stop"
    assert not answer.text.endswith("\n")


def test_evidence(model: secondsight.Model, make_image: MakeImage) -> None:
    method = "m3id:decay=0.4,beta=0.05"
    answer = model.answer(make_image(3), QUESTION, method, max_new_tokens=8, evidence=True)
    plain = model.answer(make_image(3), QUESTION, method, max_new_tokens=8)
    assert same(answer, plain)
    assert answer.evidence is not None
    assert len(answer.evidence) == len(answer.ids)
    inputs = [model.encode(make_image(3), QUESTION), model.encode(None, QUESTION)]
    for step, (entry, token) in enumerate(zip(answer.evidence, answer.ids, strict=True)):
        logits = []
        for view in inputs:
            written = torch.tensor([answer.ids[:step]], dtype=torch.long)
            ids = torch.cat([view["input_ids"], written], dim=-1)
            rest = {"pixel_values": view["pixel_values"]} if "pixel_values" in view else {}
            with torch.no_grad():
                logits.append(model.hf_model(input_ids=ids, **rest).logits[0, -1].double())
        original, without = logits
        weight = math.expm1(0.4 * step)
        plausible = original >= original.max() + math.log(0.05)
        scores = (original + weight * (original - without)).masked_fill(~plausible, -math.inf)
        assert entry.id == token
        assert entry.text == model.tokenizer.decode([token])
        assert entry.probability == pytest.approx(float(scores.softmax(-1)[token]), abs=1e-3)
        assert list(entry.view_probabilities) == ["original", "no image"]
        for given, view_logits in zip(entry.view_probabilities.values(), logits, strict=True):
            assert given == pytest.approx(float(view_logits.softmax(-1)[token]), abs=1e-3)
        assert entry.plausible == int(plausible.sum())
        assert entry.regular_id == int(original.argmax())
        assert entry.regular_text == model.tokenizer.decode([entry.regular_id])
        assert entry.changed == (int(scores.argmax()) != entry.regular_id)
    regular = model.answer(make_image(3), QUESTION, max_new_tokens=3, evidence=True)
    assert regular.evidence is not None
    assert all(entry.plausible is None and not entry.changed for entry in regular.evidence)


@pytest.mark.parametrize("method", ["regular", "ritual", "ritual+", "vcd:step=900", "ritual+m3id"])
def test_json_and_provenance_reproduce_the_answer(
    model: secondsight.Model, make_image: MakeImage, method: str
) -> None:
    history = [Turn("What is it?", "A cat.")]
    answer = model.answer(
        make_image(4),
        QUESTION,
        method,
        max_new_tokens=TOKENS,
        temperature=2.0,
        top_p=0.9,
        top_k=50,
        repetition_penalty=1.2,
        stop=["never this"],
        seed=17,
        evidence=True,
        history=history,
    )
    data = json.loads(answer.to_json())
    assert data == json.loads(json.dumps(answer.to_dict()))
    assert data["text"] == answer.text
    assert data["ids"] == list(answer.ids)
    assert len(data["evidence"]) == len(answer.ids)
    origin = data["provenance"]
    assert origin["versions"].keys() >= {"secondsight", "transformers", "torch", "python"}
    assert origin["model"] == model.name
    views = {view["view"]: view.get("choice") for view in origin["views"]}
    if "ritual" in method:
        assert views["transformed"] in secondsight.views.TRANSFORMS
    again = model.answer(
        make_image(4),
        origin["question"],
        origin["method"]["spec"],
        seed=origin["seed"],
        history=[Turn(turn["question"], turn["answer"]) for turn in origin["history"]],
        **origin["settings"],
    )
    assert same(again, answer)
    assert again.provenance == answer.provenance


def test_the_transform_of_the_provenance_is_the_one_that_was_used(
    model: secondsight.Model, make_image: MakeImage
) -> None:
    for seed in range(12):
        random = model.answer(
            make_image(1), QUESTION, "ritual", seed=seed, max_new_tokens=TOKENS, evidence=True
        )
        choice = random.provenance["views"][1]["choice"]
        if choice in ("hflip", "vflip"):
            fixed = model.answer(
                make_image(1),
                QUESTION,
                f"ritual:transform={choice}",
                max_new_tokens=TOKENS,
                evidence=True,
            )
            assert random.ids == fixed.ids
            assert random.evidence == fixed.evidence
            return
    raise AssertionError("no flip in twelve draws")


@pytest.mark.parametrize(
    ("reply", "choice"), [("Vertical flip, surely.", "vflip"), ("A mirror", "hflip"), ("No.", None)]
)
def test_ritual_plus(
    model: secondsight.Model,
    make_image: MakeImage,
    monkeypatch: pytest.MonkeyPatch,
    reply: str,
    choice: str | None,
) -> None:
    asked: list[str] = []
    answer = type(model).answer

    def consult(self: Any, image: Any, question: str, *args: Any, **kwargs: Any) -> Any:
        if "changes" not in question:
            return answer(self, image, question, *args, **kwargs)
        asked.append(question)
        from dataclasses import replace

        return replace(answer(self, image, QUESTION, max_new_tokens=1), text=reply)

    monkeypatch.setattr(type(model), "answer", consult)
    result = model.answer(make_image(1), QUESTION, "ritual+", max_new_tokens=TOKENS)
    assert len(asked) == 1
    assert QUESTION in asked[0]
    assert result.provenance["method"]["reply"] == reply
    used = result.provenance["views"][1]["choice"]
    if choice:
        assert used == choice
        fixed = model.answer(
            make_image(1), QUESTION, f"ritual:transform={choice}", max_new_tokens=TOKENS
        )
        assert result.ids == fixed.ids
    else:
        assert used in secondsight.views.TRANSFORMS


def test_ones_own_method(model: secondsight.Model, make_image: MakeImage) -> None:
    @secondsight.register("test-text-shy")
    @dataclass(frozen=True)
    class TextShy(Method):
        """Halves what the text alone would say."""

        weight: float = parameter(0.5, "how much of it goes", low=0)

        def views(self, sample: Sample) -> tuple[View, ...]:
            return (Original(), NoImage())

        def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
            return logits[0] - self.weight * logits[1]

    by_class = model.answer(make_image(1), QUESTION, TextShy(weight=2), max_new_tokens=TOKENS)
    by_text = model.answer(
        make_image(1), QUESTION, "test-text-shy:weight=2", max_new_tokens=TOKENS, evidence=True
    )
    assert same(by_class, by_text)
    assert by_text.provenance["method"]["spec"] == "test-text-shy:weight=2"
    assert by_text.ids != model.answer(make_image(1), QUESTION, max_new_tokens=TOKENS).ids
    assert by_text.evidence is not None
    assert list(by_text.evidence[0].view_probabilities) == ["original", "no image"]
    with pytest.raises(MethodError, match="weight"):
        model.answer(make_image(1), QUESTION, "test-text-shy:wait=2")


@pytest.mark.parametrize("question", ["", " ", "\n\t", None, 3, "caf\udce9"])
def test_a_question_that_is_none(
    model: secondsight.Model, make_image: MakeImage, question: Any
) -> None:
    for ask in (model.answer, model.encode, model.stream):
        with pytest.raises(QuestionError):
            ask(make_image(1), question)
    with pytest.raises(QuestionError):
        model.answer_batch([(make_image(1), QUESTION), (make_image(1), question)])


def test_a_question_that_is_too_long(model: secondsight.Model, make_image: MakeImage) -> None:
    with pytest.raises(QuestionError, match="512"):
        model.answer(make_image(1), "What is this? " * 200)


def test_an_answer_ends_with_the_context(model: secondsight.Model, make_image: MakeImage) -> None:
    question = "Is there a dog in the image? " * 5
    while (length := model.encode(make_image(1), question)["input_ids"].shape[1]) < 500:
        question += " x"
    single = model.answer(make_image(1), question, max_new_tokens=100)
    assert len(single.ids) == 512 - length
    assert single.finish_reason == "length"
    short = model.answer(make_image(2), "Is it?", max_new_tokens=30)
    [long, batched] = model.answer_batch(
        [(make_image(1), question), (make_image(2), "Is it?")], max_new_tokens=30
    )
    assert same(long, single)
    assert same(batched, short), "a neighbour's long question must not shorten this answer"


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": "1"},
        {"temperature": True},
        {"temperature": None},
        {"top_p": 0},
        {"top_p": 1.5},
        {"top_p": math.nan},
        {"top_k": 0},
        {"top_k": -3},
        {"top_k": 2.5},
        {"top_k": True},
        {"repetition_penalty": 0},
        {"repetition_penalty": -1.0},
        {"max_new_tokens": 0},
        {"max_new_tokens": 1.5},
        {"max_new_tokens": "9"},
        {"seed": 1.5},
        {"seed": "x"},
        {"seed": None},
        {"seed": True},
        {"stop": ""},
        {"stop": ["a", ""]},
        {"stop": 5},
        {"stop": [3]},
        {"schedule": "lasy"},
        {"method": "ritaul"},
        {"method": None},
    ],
    ids=str,
)
def test_bad_settings(
    model: secondsight.Model, make_image: MakeImage, options: dict[str, Any]
) -> None:
    name = next(iter(options))
    with pytest.raises(UserError, match=r"Known|method" if name == "method" else name):
        model.answer(make_image(1), QUESTION, **options)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "many"])
def test_bad_batch_sizes(model: secondsight.Model, make_image: MakeImage, batch_size: Any) -> None:
    with pytest.raises(UserError, match="batch_size"):
        model.answer_batch([(make_image(1), QUESTION)], batch_size=batch_size)


def test_no_samples(model: secondsight.Model) -> None:
    assert model.answer_batch([]) == []


@pytest.mark.parametrize("method", ["ritual", "vcd", "ritual+", "ritual+m3id"])
def test_a_method_of_images_needs_one(model: secondsight.Model, method: str) -> None:
    with pytest.raises(ImageError, match="none was given"):
        model.answer(None, QUESTION, method, max_new_tokens=2)


@pytest.mark.parametrize("method", ["regular", "apc", "m3id", "identity"])
def test_without_an_image(model: secondsight.Model, method: str) -> None:
    answer = model.answer(None, QUESTION, method, max_new_tokens=6)
    assert 1 <= len(answer.ids) <= 6


def test_a_missing_image_is_told_at_once(model: secondsight.Model) -> None:
    for ask in (model.answer, model.stream, model.encode):
        with pytest.raises(ImageError, match=r"nowhere\.png"):
            ask("nowhere.png", QUESTION)


def test_repetition_penalty_does_not_depend_on_padding(
    model: secondsight.Model, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padding written before a short question must not count as something said."""
    options: dict[str, Any] = {"repetition_penalty": 5.0, "max_new_tokens": TOKENS}
    free = model.answer(make_image(2), "Is it?", **options)
    for pad in {401, 2, free.ids[2]}:
        monkeypatch.setattr(model.hf_model.generation_config, "pad_token_id", int(pad))
        single = model.answer(make_image(2), "Is it?", **options)
        batch = model.answer_batch(
            [(make_image(1), QUESTION * 3), (make_image(2), "Is it?")], **options
        )
        assert same(batch[1], single), f"padding with {pad}"


@pytest.mark.parametrize("method", ["ritual:transform=hflip", "vcd", "m3id"])
def test_several_images(model: secondsight.Model, make_image: MakeImage, method: str) -> None:
    """A slot and a row of pixels per image, in order; views are made of all of them."""
    first, second = make_image(1), make_image(2, (30, 50))
    inputs = model.encode([first, second], QUESTION)
    alone = [model.encode(one, QUESTION)["pixel_values"] for one in (first, second)]
    assert torch.equal(inputs["pixel_values"], torch.cat(alone))
    slots = inputs["input_ids"] == model.hf_model.config.image_token_id
    assert int(slots.sum()) == 2 * int(
        (model.encode(first, QUESTION)["input_ids"] == model.hf_model.config.image_token_id).sum()
    )
    regular = model.answer([first, second], QUESTION, max_new_tokens=TOKENS)
    written = model.hf_model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    assert (
        list(regular.ids) == written[0, inputs["input_ids"].shape[1] :].tolist()[: len(regular.ids)]
    )
    batch: list[Sample] = [
        Sample(first, QUESTION, id="one"),
        Sample((first, second), QUESTION, id="two"),
        Sample((second, first), QUESTION, id="swapped"),
    ]
    together = model.answer_batch(batch, method, max_new_tokens=TOKENS)
    for sample, answer in zip(batch, together, strict=True):
        assert same(answer, model.answer_batch([sample], method, max_new_tokens=TOKENS)[0])


def test_several_images_are_transformed_alike(
    model: secondsight.Model, make_image: MakeImage
) -> None:
    sample = Sample((make_image(1), make_image(1)), QUESTION).opened()
    draws = torch.Generator().manual_seed(4)
    first, second = secondsight.views.Transformed("rotate").apply(sample, draws).images
    assert first.tobytes() == second.tobytes() != make_image(1).tobytes()


def test_an_empty_list_is_not_taken_for_no_image(model: secondsight.Model) -> None:
    assert "pixel_values" not in model.encode(None, QUESTION)
    with pytest.raises(ImageError, match="empty list"):
        model.encode([], QUESTION)


def test_what_was_answered_is_let_go_of_at_once(
    model: secondsight.Model, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at some collection of garbage to come: an image's pixels are large."""
    kept: list[list[weakref.ref[torch.Tensor]]] = []
    prepare = model.prepare

    def watched(request: Any) -> Any:
        prepared = prepare(request)
        kept.append([weakref.ref(one["pixel_values"]) for one in prepared.inputs])
        return prepared

    monkeypatch.setattr(model, "prepare", watched)
    requests = [
        secondsight.Request(Sample(make_image(number), QUESTION), method)
        for number, method in enumerate(("regular", "ritual", "vcd", "regular", "regular"))
    ]
    gc.collect()
    gc.disable()
    try:
        assert sum(1 for _ in model.answers(requests, batch_size=1)) == len(requests)
        assert len(kept) == len(requests)
        held = [any(pixels() is not None for pixels in one) for one in kept]
        assert not any(held[:-1])  # the engine shows what its last step read
    finally:
        gc.enable()
