"""Questions and answers about a scene, as training wants them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from secondsight.benchmarks.stickers import captions
from secondsight.benchmarks.stickers.catalog import BY_NAME, CATEGORIES, COLOURS, with_article
from secondsight.benchmarks.stickers.contexts import CONTEXTS, PARTNERS
from secondsight.benchmarks.stickers.scene import Scene, SceneObject

from . import wordings as w

Turn = tuple[str, str]
_NAMES = tuple(c.name for c in CATEGORIES)
_OPPOSITE = {
    "left": "right",
    "right": "left",
    "top": "bottom",
    "bottom": "top",
    "above": "below",
    "below": "above",
}


@dataclass(frozen=True)
class Dialogue:
    """A conversation about one picture.

    Attributes:
        turns: Questions with their answers.
        blind: Whether it is asked without the picture. Language models bring such a prior from
            their text; ours has no other text to take it from.
    """

    turns: tuple[Turn, ...]
    blind: bool = False


def dialogues(scene: Scene, rng: Random, questions: int) -> list[Dialogue]:
    """Descriptions and several questions, each a conversation of its own."""
    if not scene.objects:
        return [Dialogue((_unknown(rng),)) for _ in range(3)]
    result = [Dialogue((_full(scene, rng),), blind=rng.random() < 0.06)]
    if rng.random() < 0.7:
        result.append(Dialogue((_brief(scene, rng),)))
    descriptions = len(result)
    makers = (
        _exists,
        _exists_other,
        _count,
        _count_yes_no,
        _where,
        _position_yes_no,
        _colour,
        _colour_yes_no,
    )
    weights = (1.6, 2.0, 1.2, 1.8, 1.0, 3.2, 1.0, 1.6)
    picks = [_exists, _exists_other, *rng.choices(makers, weights, k=questions - 2)]
    for make in picks:
        turn = make(scene, rng)
        if turn is None:
            continue
        blind = make in (_exists, _exists_other) and rng.random() < 0.04
        result.append(Dialogue((turn,), blind))
    chance = rng.random()
    if chance < 0.3:
        result.append(Dialogue(_two_turns(scene, rng)))
    elif chance < 0.36:
        result.append(Dialogue((_total(scene, rng),)))
    elif chance < 0.42 and scene.context:
        answer = f"It looks like {with_article(scene.context)}."
        result.append(Dialogue(((rng.choice(w.PLACE), answer),)))
    elif chance < 0.44:
        asked, answer = rng.choice(w.ABOUT)
        result.append(Dialogue(((rng.choice(asked), answer),)))
    # What does not fit into a sequence is dropped from the end: no kind of question always.
    rest = result[descriptions:]
    rng.shuffle(rest)
    return result[:descriptions] + rest


def _careless(question: str, rng: Random) -> str:
    """Now and then, the question as people really type it."""
    chance = rng.random()
    if chance < 0.04:
        return question.lower()
    if chance < 0.07:
        return question.rstrip("?.")
    if chance < 0.08:
        return question[0].lower() + question[1:].rstrip("?.")
    return question


def _yes_no(question: str, yes: bool, sentence: str, rng: Random) -> Turn:
    """Answers in a sentence, or in one word when asked to."""
    answer = "Yes" if yes else "No"
    if rng.random() < 0.45:
        return question + rng.choice(w.YES_NO_SUFFIXES), answer
    return _careless(question, rng), f"{answer}, {sentence}"


def _unknown(rng: Random) -> Turn:
    """Any question about a picture without stickers."""
    name = rng.choice(_NAMES)
    chance = rng.random()
    if chance < 0.5:
        return _careless(rng.choice(w.DESCRIBE + w.BRIEF), rng), w.UNKNOWN
    if chance < 0.7:
        return _ask_exists(name, rng), w.UNKNOWN_NO
    if chance < 0.75:
        return _ask_exists(name, rng) + rng.choice(w.YES_NO_SUFFIXES), "No"
    plural = BY_NAME[name].plural
    asked = rng.choice(w.COUNT + w.WHERE + w.COLOUR + w.TOTAL + w.PLACE)
    return _careless(asked.format(name=name, plural=plural, color="color"), rng), w.UNKNOWN


def _full(scene: Scene, rng: Random) -> Turn:
    return _careless(rng.choice(w.DESCRIBE), rng), captions.full(scene, rng)


def _brief(scene: Scene, rng: Random) -> Turn:
    return _careless(rng.choice(w.BRIEF), rng), captions.brief(scene, rng)


def _ask_exists(name: str, rng: Random) -> str:
    return rng.choice(w.EXISTS).format(a=with_article(name), name=name, plural=BY_NAME[name].plural)


def _exists(scene: Scene, rng: Random) -> Turn:
    return _there_is(rng.choice(scene.categories), rng)


def _there_is(name: str, rng: Random) -> Turn:
    sentence = f"there is {with_article(name)} in the image."
    return _yes_no(_ask_exists(name, rng), True, sentence, rng)


def absent(scene: Scene, rng: Random) -> str:
    """A category that is not there: mostly one that could be."""
    present = set(scene.categories)
    chance = rng.random()
    pool: list[str] = []
    if chance < 0.3:
        pool = [PARTNERS[n] for n in scene.categories if n in PARTNERS]
    elif chance < 0.65:
        pool = [n for c in CONTEXTS.values() if present & set(c[:6]) for n in c]
    elif chance < 0.8:
        pool = [n for c in CONTEXTS.values() for n in c[:4]]
    pool = [n for n in pool if n not in present] or [n for n in _NAMES if n not in present]
    return rng.choice(pool)


def _exists_other(scene: Scene, rng: Random) -> Turn:
    name = absent(scene, rng)
    return _yes_no(_ask_exists(name, rng), False, f"there is no {name} in the image.", rng)


def _count(scene: Scene, rng: Random) -> Turn:
    if rng.random() < 0.1:
        name, number = absent(scene, rng), 0
    else:
        name = _frequent(scene, rng)
        number = len(scene.of(name))
    plural = BY_NAME[name].plural
    question = rng.choice(w.COUNT).format(plural=plural)
    if rng.random() < 0.3:
        return question + rng.choice(w.SHORT_SUFFIXES), captions.NUMBERS[number]
    return _careless(question, rng), _there_are(number, name)


def _there_are(number: int, name: str) -> str:
    if number == 1:
        return f"There is one {name}."
    return f"There are {captions.NUMBERS[number]} {BY_NAME[name].plural}."


def _frequent(scene: Scene, rng: Random) -> str:
    """A category of the scene, those that come several times more often."""
    several = [n for n in scene.categories if len(scene.of(n)) > 1]
    return rng.choice(several if several and rng.random() < 0.7 else scene.categories)


def _count_yes_no(scene: Scene, rng: Random) -> Turn:
    name = _frequent(scene, rng)
    number = len(scene.of(name))
    yes = rng.random() < 0.5
    said = number if yes else max(1, number + rng.choice((-1, 1, 1)))
    if said == number and not yes:
        said = number + 1
    noun = name if said == 1 else BY_NAME[name].plural
    question = rng.choice(w.COUNT_YES_NO).format(
        Be="Is" if said == 1 else "Are", number=captions.NUMBERS[said], noun=noun
    )
    sentence = _there_are(number, name)
    return _yes_no(question, yes, sentence[0].lower() + sentence[1:], rng)


def _single(scene: Scene, rng: Random) -> SceneObject | None:
    singles = [scene.of(n)[0] for n in scene.categories if len(scene.of(n)) == 1]
    return rng.choice(singles) if singles else None


def _where(scene: Scene, rng: Random) -> Turn | None:
    item = _single(scene, rng)
    if item is None:
        return None
    question = rng.choice(w.WHERE).format(name=item.category)
    return _careless(question, rng), f"The {item.category} is {captions.place_of(item)}."


def _position_yes_no(scene: Scene, rng: Random) -> Turn | None:
    singles = [scene.of(n)[0] for n in scene.categories if len(scene.of(n)) == 1]
    yes = rng.random() < 0.5
    if len(singles) > 1 and rng.random() < 0.65:
        first, second = rng.sample(singles, 2)
        dx = first.centre[0] - second.centre[0]
        dy = first.centre[1] - second.centre[1]
        horizontal = abs(dx) > 0.1 and (abs(dy) <= 0.1 or rng.random() < 0.6)
        if not horizontal and abs(dy) <= 0.1:
            return None
        true = ("left" if dx < 0 else "right") if horizontal else "above" if dy < 0 else "below"
        said = true if yes else _OPPOSITE[true]
        question = rng.choice(w.RELATION).format(
            a=first.category, b=second.category, relation=rng.choice(w.RELATIONS[said])
        )
        relation = w.RELATIONS[true][0]
        sentence = f"the {first.category} is {relation} the {second.category}."
        return _yes_no(question, yes, sentence, rng)
    item = _single(scene, rng)
    if item is None:
        return None
    x, y = item.centre[0] - 0.5, item.centre[1] - 0.5
    horizontal = abs(x) > 0.08 and (abs(y) <= 0.08 or rng.random() < 0.6)
    if not horizontal and abs(y) <= 0.08:
        return None
    true = ("left" if x < 0 else "right") if horizontal else "top" if y < 0 else "bottom"
    said = true if yes else _OPPOSITE[true]
    question = rng.choice(w.SIDE).format(name=item.category, side=rng.choice(w.SIDES[said]))
    return _yes_no(question, yes, f"the {item.category} is {captions.place_of(item)}.", rng)


def _coloured(scene: Scene, rng: Random) -> tuple[str, str] | None:
    known = [(n, captions.common_colour(scene.of(n))) for n in scene.categories]
    pairs = [(n, c) for n, c in known if c is not None]
    return rng.choice(pairs) if pairs else None


def _spelled(rng: Random) -> str:
    return rng.choice(("color", "color", "colour"))


def _colour(scene: Scene, rng: Random) -> Turn | None:
    pair = _coloured(scene, rng)
    if pair is None:
        return None
    name, colour = pair
    plural = BY_NAME[name].plural
    many = len(scene.of(name)) > 1 or name == "scissors"
    question = rng.choice(w.COLOUR_PLURAL if many else w.COLOUR).format(
        name=name, plural=plural, color=_spelled(rng)
    )
    if rng.random() < 0.3:
        return question + rng.choice(w.SHORT_SUFFIXES), colour
    return _careless(question, rng), f"The {plural if many else name} {_be(many)} {colour}."


def _be(many: bool) -> str:
    return "are" if many else "is"


def _colour_yes_no(scene: Scene, rng: Random) -> Turn | None:
    pair = _coloured(scene, rng)
    if pair is None:
        return None
    name, colour = pair
    yes = rng.random() < 0.5
    said = colour if yes else rng.choice([c for c in COLOURS if c != colour])
    question = rng.choice(w.COLOUR_YES_NO).format(
        name=name, colour=said, color=_spelled(rng), a_coloured=with_article(f"{said} {name}")
    )
    return _yes_no(question, yes, f"the {name} is {colour}.", rng)


def _total(scene: Scene, rng: Random) -> Turn:
    number = len(scene.objects)
    if number == 1:
        return rng.choice(w.TOTAL), "There is one object."
    return rng.choice(w.TOTAL), f"There are {captions.NUMBERS[number]} objects."


def _two_turns(scene: Scene, rng: Random) -> tuple[Turn, ...]:
    """A question and a second one that may lean on the first."""
    chance = rng.random()
    item = _single(scene, rng)
    if item is not None and chance < 0.5:
        name = item.category
        first = _there_is(name, rng)
        if item.colour and rng.random() < 0.5:
            question = rng.choice(("What {} is it?", "Which {} is it?", "And what {} is it?"))
            return first, (question.format(_spelled(rng)), f"The {name} is {item.colour}.")
        question = rng.choice(("Where is it?", "Where?", "And where is it?", "Where exactly?"))
        return first, (question, f"The {name} is {captions.place_of(item)}.")
    if chance < 0.65:
        first = rng.choice((_full, _brief))(scene, rng)
    else:
        first = rng.choice((_exists, _exists_other, _count))(scene, rng)
    second = rng.choice((_exists, _exists_other, _exists_other, _count, _colour, _where))
    return first, second(scene, rng) or _exists_other(scene, rng)
