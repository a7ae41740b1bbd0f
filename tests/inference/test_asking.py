"""What the model is asked back: against one plain forward pass per question."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

import secondsight
from secondsight import Doubt, Request, Sample, Settings
from secondsight.benchmarks.sticker_source import sticker_images
from secondsight.prompts import Turn

QUESTION = "Please describe this image in detail."
YES, NO = ("yes", "Yes", "YES"), ("no", "No", "NO")


@pytest.fixture(scope="module")
def bundled() -> secondsight.Model:
    return secondsight.load()


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return list(sticker_images("conflict").values())[2]()


def ids_of(model: secondsight.Model, words: tuple[str, ...]) -> list[int]:
    """The tokens that are such a word, found by reading the whole vocabulary."""
    every = range(len(model.tokenizer))
    return [one for one in every if model.tokenizer.decode([one]).strip() in words]


def slow(model: secondsight.Model, image: Image.Image | None, doubt: Doubt) -> float:
    """p(no) by transformers alone: the whole prompt, image included, in a pass of its own."""
    with torch.no_grad():
        asked = model.encode(image, question_of(doubt))
        logits = model.hf_model(**asked).logits[0, -1].double()
    likely = logits.softmax(-1)
    yes, no = (float(likely[ids_of(model, words)].sum()) for words in (YES, NO))
    return no / (yes + no)


def question_of(doubt: Doubt) -> str:
    if doubt.kind == "count":
        raise AssertionError("not in these answers")
    name = doubt.object if doubt.kind == "object" else f"{doubt.text} {doubt.object}"
    return f"Is there {'an' if name[0] in 'aeiou' else 'a'} {name} in the image?"


def asked(model: secondsight.Model, sample: Sample, method: str = "regular") -> tuple[Doubt, ...]:
    request = Request(sample, method, Settings(max_new_tokens=24), doubts=True)
    found = model.submit(request).result().doubts
    assert found
    return found


def test_each_reply_is_that_of_a_pass_of_its_own(
    bundled: secondsight.Model, image: Image.Image
) -> None:
    for doubt in asked(bundled, Sample(image, QUESTION)):
        if doubt.kind != "count":
            assert doubt.refusal == pytest.approx(slow(bundled, image, doubt), abs=1e-5)
        assert doubt.views is None


def test_the_views_are_asked_too(bundled: secondsight.Model, image: Image.Image) -> None:
    found = asked(bundled, Sample(image, QUESTION), "check:ask_views=true+m3id")
    for doubt in (one for one in found if one.kind != "count"):
        assert doubt.refusal == pytest.approx(slow(bundled, image, doubt), abs=1e-5)
        assert doubt.views == pytest.approx(slow(bundled, None, doubt), abs=1e-5)


def test_the_blank_control_asks_about_a_grey_image(
    bundled: secondsight.Model, image: Image.Image
) -> None:
    grey = Image.new("RGB", image.size, (127, 127, 127))
    for doubt in asked(bundled, Sample(image, QUESTION), "check-blank:repair=none"):
        assert doubt.kind == "object"
        assert doubt.refusal == pytest.approx(slow(bundled, grey, doubt), abs=1e-5)


def test_earlier_turns_play_no_part(bundled: secondsight.Model, image: Image.Image) -> None:
    after = Sample(image, QUESTION, history=(Turn("Is there a cat in the image?", "No."),))
    for doubt in asked(bundled, after):
        if doubt.kind != "count":
            assert doubt.refusal == pytest.approx(slow(bundled, image, doubt), abs=1e-5)


def test_replies_in_company_are_those_alone(bundled: secondsight.Model, image: Image.Image) -> None:
    sample = Sample(image, QUESTION)
    alone = asked(bundled, sample)
    others = [bundled.submit(Request(sample, spec)) for spec in ("ritual", "vcd")]
    try:
        together = asked(bundled, sample)
    finally:
        for other in others:
            other.cancel()
    assert [one.text for one in alone] == [one.text for one in together]
    for one, two in zip(alone, together, strict=True):
        assert one.probability == pytest.approx(two.probability, abs=1e-5)
