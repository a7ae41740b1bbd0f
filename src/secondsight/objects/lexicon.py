"""Which phrases name which object: the synonym table and the rules on compound words.

CHAIR counts the objects that a caption names, so it needs to know that a puppy is a dog and that
a hot dog is none. The table in ``coco_synonyms.txt`` is our own; published numbers are reproduced
with the official file, which the same reader takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import TYPE_CHECKING, Final

from secondsight.errors import DataError
from secondsight.files import PathLike, read_text

if TYPE_CHECKING:
    import inflect

Phrase = tuple[str, ...]

_ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")
_VEHICLES = ("car", "airplane", "bus", "train", "truck", "boat")
_ANIMAL_QUALIFIERS = ("baby", "adult", "mother", "father", "male", "female", "young")

# Compounds in which the head word is not the object, or no object at all (own list).
_NO_OBJECT = (
    "train track, train tracks, train station, train platform, train yard, home plate, bus stop, "
    "bus station, bus lane, bus terminal, truck stop, car park, bike lane, "
    "bike rack, bicycle lane, bicycle rack, boat dock, boat house, boat ramp, "
    "bird bath, bird house, bird cage, bird feeder, bird nest, dog house, dog park, dog bed, "
    "dog leash, dog collar, dog food, cat food, cat litter, horse race, cow bell, bear spray, "
    "apple juice, apple pie, apple tree, apple sauce, apple logo, orange juice, orange tree, "
    "banana bread, banana peel, banana tree, carrot stick, pizza box, pizza oven, pizza cutter, "
    "pizza parlor, cake stand, cake pan, ski slope, ski lift, ski resort, ski pole, ski jump, "
    "ski mask, ski boot, chair lift, bed sheet, bed spread, bed frame, flower bed, truck bed, "
    "table cloth, table tennis, table lamp, table top, bottle cap, bottle opener, phone booth, "
    "phone book, telephone pole, telephone booth, mouse pad, tv stand, tv show, toilet seat, "
    "toilet paper, toilet brush, toilet bowl, toilet tank, book shelf, book case, book store, "
    "clock face, clock hand, umbrella stand, knife block, fork lift, sink faucet, oven mitt, "
    "baseball field, baseball player, baseball game, baseball cap, baseball uniform, "
    "baseball team, basketball court, basketball hoop, basketball player, basketball game, "
    "football field, football player, football game, tennis player, soccer player, "
    "soccer field, volleyball court, volleyball net, ball game, ball park, ball field, "
    "remote area, remote location, remote island, remote village, crane truck, tie dye, "
    "monitor lizard, mouse trap, kite surfing, cup holder, bowl cut, cattle drive, record player, "
    "cd player, dvd player, music player"
)
_SPORTS = ("baseball", "basketball", "football", "softball", "volleyball")
_OTHER_ANIMALS = ("animal", "cub", "deer", "goat", "lion", "monkey", "pig", "rabbit", "tiger")
# Persons among those compounds: the player is one, the ball is not.
_PERSON_COMPOUNDS = (
    "baseball player",
    "basketball player",
    "football player",
    "tennis player",
    "soccer player",
)


@dataclass(frozen=True)
class Lexicon:
    """Phrases and the object each one names.

    Attributes:
        phrases: Lower-case words to the object's name, or None for a compound that names none
            but hides the words inside it (train track).
        toilet_seat_rule: The official special case: beside a toilet, a "seat" is no chair.
        colour_rule: Leave out "orange" where it is a colour.
    """

    phrases: Mapping[Phrase, str | None]
    toilet_seat_rule: bool = False
    colour_rule: bool = False

    @cached_property
    def longest(self) -> int:
        """The most words that a phrase has."""
        return max(len(phrase) for phrase in self.phrases)

    @cached_property
    def objects(self) -> frozenset[str]:
        """The names of all objects."""
        return frozenset(name for name in self.phrases.values() if name is not None)

    def object_named(self, name: str) -> str | None:
        """The object that a category's name stands for, None if the lexicon lacks it."""
        return self.phrases.get(words_of(name))

    def including(self, names: Iterable[str]) -> Lexicon:
        """The lexicon with further objects that are called by their names alone."""
        added = {
            form: name
            for name in names
            if not self.object_named(name)
            for form in forms(words_of(name))
        }
        if not added:
            return self
        return Lexicon({**self.phrases, **added}, self.toilet_seat_rule, self.colour_rule)


def words_of(phrase: str) -> Phrase:
    """The lower-case words of a phrase; hyphens and underscores separate words."""
    return tuple(phrase.lower().replace("-", " ").replace("_", " ").split())


@cache
def _inflector() -> inflect.engine:
    # Here, because importing it takes longer than all the rest of scoring.
    import inflect

    return inflect.engine()


_LONGEST_WORD: Final = 60
"""Letters; what is longer is no word, and its plural would take minutes."""


@cache
def forms(phrase: Phrase) -> frozenset[Phrase]:
    """A phrase and its plural (the last word's: ``hot dog``, ``hot dogs``)."""
    if not phrase:
        return frozenset()
    *before, last = phrase
    if not last.isalpha() or len(last) > _LONGEST_WORD:
        return frozenset({phrase})
    return frozenset({phrase, (*before, _inflector().plural_noun(last))})


def _synonyms(text: str, source: str) -> dict[str, list[str]]:
    """The table of one line per category, comma-separated, first the category."""
    table: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        names = [" ".join(words_of(name)) for name in line.split(",")]
        names = [name for name in names if name]
        if not names:
            continue
        if names[0] in table:
            raise DataError(f"{source}:{number}: the category {names[0]!r} stands here twice")
        table[names[0]] = names
    if not table:
        raise DataError(f"{source}: holds no category")
    return table


def _phrases(table: Mapping[str, Iterable[str]]) -> dict[Phrase, str | None]:
    found: dict[Phrase, str | None] = {}
    for name, synonyms in table.items():
        for synonym in synonyms:
            for form in forms(words_of(synonym)):
                found.setdefault(form, name)
    return found


def _qualified(
    table: Mapping[str, Iterable[str]], objects: Iterable[str], qualifiers: Iterable[str]
) -> dict[Phrase, str | None]:
    """``baby`` elephant, ``passenger`` jet: the qualifier is no person."""
    return {
        (qualifier, *form): name
        for name in objects
        if name in table
        for synonym in table[name]
        for form in forms(words_of(synonym))
        for qualifier in qualifiers
    }


@cache
def coco_lexicon() -> Lexicon:
    """The built-in lexicon for COCO's 80 categories."""
    source = resources.files("secondsight.objects") / "coco_synonyms.txt"
    table = _synonyms(source.read_text("utf-8"), "coco_synonyms.txt")
    phrases = _phrases(table)
    for compound in _NO_OBJECT.split(","):
        phrases.update(dict.fromkeys(forms(words_of(compound)), None))
    for compound in _PERSON_COMPOUNDS:
        phrases.update(dict.fromkeys(forms(words_of(compound)), "person"))
    for verb in ("play", "plays", "playing", "played"):
        phrases.update(dict.fromkeys([(verb, sport) for sport in _SPORTS], None))
    for qualifier in _ANIMAL_QUALIFIERS:
        for animal in _OTHER_ANIMALS:
            phrases.update({(qualifier, *form): None for form in forms((animal,))})
    phrases.update(_qualified(table, _ANIMALS, _ANIMAL_QUALIFIERS))
    phrases.update(_qualified(table, _VEHICLES, ("passenger",)))
    return Lexicon(phrases, colour_rule=True)


def read_lexicon(path: PathLike) -> Lexicon:
    """A lexicon from a synonym file in CHAIR's official format, with CHAIR's official rules.

    The rules (Rohrbach et al. 2018, arXiv 1809.02156): two-word objects before their words;
    baby or adult animals and passenger jets or trains are no persons; a bow tie is a tie; a
    toilet seat is the toilet; home plate and train track are nothing.

    Raises:
        DataError: If the file is missing, empty, or names a category twice.
    """
    table = _synonyms(read_text(path), str(path))
    phrases = _phrases(table)
    for animal in (*_ANIMALS, "animal", "cub"):
        for form in forms((animal,)):
            named = phrases.get(form)
            phrases[("baby", *form)] = phrases[("adult", *form)] = named
    for vehicle in ("jet", "train"):
        for form in forms((vehicle,)):
            phrases[("passenger", *form)] = phrases.get(form)
    for form in forms(("bow", "tie")):
        phrases[form] = phrases.get(("tie",))
    for form in forms(("toilet", "seat")):
        phrases[form] = phrases.get(("toilet",))
    for compound in (("home", "plate"), ("train", "track")):
        phrases.update(dict.fromkeys(forms(compound), None))
    return Lexicon(phrases, toilet_seat_rule=True)
