"""What training feeds the model is what inference will feed it."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from secondsight.benchmarks.stickers import Scene, make_scene, render

pytest.importorskip("sentencepiece")

from training.data import DECISIVE, FIRST, FLOCK, NUMBER, Packer, Scenes, square
from training.dialogue import Dialogue, dialogues
from training.network import visible
from training.targets import CATEGORY, FINE, IGNORE, Shape, patch_targets
from training.tokenizer import BUNDLED, SYSTEM
from training.unknown import unknown_picture

SHAPE = Shape()


@pytest.fixture(scope="module")
def packer() -> Packer:
    return Packer(SHAPE)


def test_a_packed_conversation_has_the_ids_of_a_prompt(packer: Packer) -> None:
    """Prompt, image slot, question and answer, as `tokenize_with_images` writes them."""
    from transformers import LlamaTokenizer

    from secondsight.prompts import tokenize_with_images

    tokenizer = LlamaTokenizer.from_pretrained(BUNDLED)
    turns = (("Is there a cat?", "Yes, there is a cat in the image."), ("Where is it?", "Here."))
    row = packer.pack([Dialogue(turns)], False)
    text = f"{SYSTEM} USER: <image>\nIs there a cat? ASSISTANT:"
    wanted = tokenize_with_images(text, tokenizer)
    slot = wanted.index(-200)
    wanted[slot : slot + 1] = [0] * SHAPE.patches
    assert row["ids"][: len(wanted)].tolist() == wanted
    answer = tokenizer(turns[0][1], add_special_tokens=False).input_ids
    second = tokenizer("USER: Where is it? ASSISTANT:", add_special_tokens=False).input_ids
    end = len(wanted) + len(answer) + 1
    assert row["ids"][len(wanted) : end].tolist() == [*answer, 2]
    assert row["labels"][len(wanted) : end].tolist() == [*answer, 2]
    assert row["ids"][end : end + len(second)].tolist() == second
    assert (row["labels"][: len(wanted)] == IGNORE).all()


def test_conversations_do_not_see_one_another(packer: Packer) -> None:
    items = [
        Dialogue((("Is there a cat?", "No"),)),
        Dialogue((("Is there a dog?", "Yes"),), blind=True),
        Dialogue((("Where is the dog?", "Here."),)),
    ]
    row = packer.pack(items, False)
    block = torch.from_numpy(row["block"])
    seen = visible(block[None])[0, 0]
    for number in (2, -3, 4):
        mine = block == number
        assert mine.any()
        others = (block != number) & (block != 0) & (block != 1)
        assert not seen[mine][:, others].any()
        assert seen[mine][:, block == 0].all()
        assert seen[mine][:, block == 1].all() == (number > 0)
        first = int(row["positions"][int(mine.nonzero()[0])])
        assert first == packer.start + (SHAPE.patches if number > 0 else 0)
    assert not (seen & ~torch.ones_like(seen).tril()).any()


def test_objects_in_questions_are_marked(packer: Packer) -> None:
    scene = make_scene("test", 0)
    assert "backpack" in scene.categories
    turns = (("Are there any backpacks?", "Yes"), ("Is there a wine glass?", "No"))
    row = packer.pack([Dialogue((turn,)) for turn in turns], False)
    marks = packer.asked(row, scene)[0]
    said = [packer.sp.decode(row["ids"][i : i + 1].tolist()) for i in np.nonzero(marks >= 0)[0]]
    assert marks[marks >= 0].tolist() == [1, 0]
    assert said[1] == "glass"


def test_an_answer_is_told_what_it_names_next(packer: Packer) -> None:
    scene = make_scene("test", 0)
    names = list(scene.categories)
    turns = (("What is in the image?", f"There is a {names[0]} and a {names[-1]}. Nothing else."),)
    row = packer.pack([Dialogue(turns), Dialogue((("Is there a cat?", "No, never."),))], False)
    category, count = packer.told(row, scene)
    told = category[category != IGNORE]
    order = [CATEGORY[names[0]] - 1, CATEGORY[names[-1]] - 1, len(CATEGORY)]
    assert list(dict.fromkeys(told.tolist())) == order
    assert [count[category == n].max() + 1 for n in order[:2]] == [
        len(scene.of(names[0])),
        len(scene.of(names[-1])),
    ]
    places = np.nonzero(category != IGNORE)[0]
    assert row["labels"][places[0]] == IGNORE  # the question's last token decides it too
    assert packer.sp.decode(row["ids"][places[-1] + 1 : places[-1] + 2].tolist()) == "."


def test_first_sentences_and_decisions_weigh_more(packer: Packer) -> None:
    turns = (
        ("Is there a cat?", "Yes, there is."),
        ("Where?", "On the left. Look."),
        ("How many?", "There are three cats. Two of three are red."),
    )
    row = packer.pack([Dialogue(turns)], False)
    said = row["labels"] != IGNORE
    assert (row["weights"][~said] == 0).all()
    words = {
        weight: packer.sp.decode(row["ids"][row["weights"] == weight].tolist())
        for weight in (DECISIVE, FIRST, NUMBER)
    }
    assert words == {
        DECISIVE: "Yes",
        FIRST: "On the left. There are cats.",
        NUMBER: "three",
    }


def test_talk_shows_three_of_a_kind_often_enough() -> None:
    """Else "two" is too good a guess."""

    def share(scenes: list[Scene]) -> float:
        counts = [len(scene.of(name)) for scene in scenes for name in scene.categories]
        return sum(count > 2 for count in counts) / len(counts)

    usual = share([make_scene("test", index) for index in range(200)])
    flocks = share([make_scene("train", index, FLOCK) for index in range(200)])
    assert flocks > 1.5 * usual


def test_conversations_are_true() -> None:
    for index in range(80):
        scene = make_scene("train", index)
        for item in dialogues(scene, Random(index), 12):
            for question, answer in item.turns:
                assert question
                assert answer
                for name in scene.categories:
                    assert f"No, there is no {name} in" not in answer
                    assert f"There are no {name}" not in answer


def test_targets_name_the_object_that_covers_a_patch() -> None:
    for index in range(20):
        scene = make_scene("train", index)
        drawn = render(scene, SHAPE.image)
        owner = np.asarray(square(Image.fromarray(drawn.owner), SHAPE.image))
        targets = patch_targets(scene, owner, SHAPE)
        category, *told = targets
        assert category.shape == (SHAPE.patches,)
        for row in told:
            assert (row[category == 0] == IGNORE).all()
        shown = {tuple(column) for column in targets[[0, 5, 6]].T if column[0]}
        centres = {
            (CATEGORY[o.category], *(round(FINE * part) for part in o.centre))
            for o in scene.objects
        }
        assert shown
        assert shown <= centres
        for name in scene.categories:
            counts = targets[4][category == CATEGORY[name]]
            assert set(counts.tolist()) <= {len(scene.of(name)) - 1}


def test_batches_depend_on_seed_and_step_alone() -> None:
    first = next(iter(Scenes(SHAPE, 2, seed=5, first=1)))
    stream = iter(Scenes(SHAPE, 2, seed=5))
    next(stream)
    again = next(stream)
    for key, value in first.items():
        assert torch.equal(value, again[key]), key


def test_pictures_without_stickers_are_repeatable() -> None:
    for index in range(12):
        picture = unknown_picture(str(index), 96)
        assert max(picture.size) == 96
        assert picture.tobytes() == unknown_picture(str(index), 96).tobytes()


def test_tokenizer_equals_sentencepiece_and_comes_back(packer: Packer) -> None:
    from transformers import LlamaTokenizer

    tokenizer = LlamaTokenizer.from_pretrained(BUNDLED)
    texts = ["Is there a wine glass?", "\nhéllo  wörld 漢字 <b>", "A picture, with two dogs."]
    for text in texts:
        ids = packer.sp.encode(text)
        assert tokenizer(text, add_special_tokens=False).input_ids == ids
        assert tokenizer.decode(ids) == text
    assert tokenizer.convert_tokens_to_ids(["<unk>", "<s>", "</s>"]) == [0, 1, 2]
