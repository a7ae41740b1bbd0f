"""Finding the objects that a text names, with the characters where it names them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from secondsight.objects.lexicon import Lexicon

_TOKEN = re.compile(r"[^\W_]+(?:[-'\u2019][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?][\"'\u201d\u2019)\]]*(?=\s|$)")


def _words_in(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COLOURS = _words_in(
    "red green blue yellow white black brown pink purple grey gray orange silver gold beige"
)
# After these, "orange" describes ("is orange"); before any word but those below it does too.
_LINKING = _words_in(
    "is are was were be been looks look seems appears painted colored coloured bright dark light "
    "pale deep mostly all"
)
_AFTER_A_NOUN = _words_in(
    "and or but with without on in at of from to by near next beside behind under over above "
    "below inside between is are was were has have sits sit lies lie lays stands that which who "
    "while as for there it then floating hanging resting sitting lying placed cut sliced "
    "segment segments slice slices peel half halves"
)


@dataclass(frozen=True)
class Mention:
    """An object named in a text.

    Attributes:
        start: Index of the first character.
        end: Index after the last character.
        text: The characters themselves.
        object: The object's name in the lexicon.
    """

    start: int
    end: int
    text: str
    object: str


@dataclass(frozen=True)
class _Word:
    text: str
    start: int
    end: int
    opens: bool  # first part of its hyphenated token
    closes: bool  # last part of it
    attached: bool  # nothing but space or a hyphen stands between it and the word before


def word_count(text: str) -> int:
    """Words of a text; a hyphenated word or a contraction is one."""
    return len(_TOKEN.findall(text))


def finished_part(text: str) -> str:
    """The text up to the end of its last finished sentence ("" if none is finished)."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def first_words(text: str, count: int) -> str:
    """The text up to the end of its word of that number; the whole text where it has no more.

    Words are those of `word_count`.
    """
    ends = [match.end() for match in islice(_TOKEN.finditer(text), count + 1)]
    return text if len(ends) <= count else text[: ends[count - 1]] if count > 0 else ""


def first_sentences(text: str, count: int) -> str:
    """The text up to the end of its sentence of that number; the whole text where it has no more.

    A last sentence that is not finished counts as one.
    """
    ends = [match.end() for match in islice(_SENTENCE_END.finditer(text), count)]
    return text if len(ends) < count else text[: ends[count - 1]] if count > 0 else ""


def sentence_count(text: str) -> int:
    """Sentences of a text, an unfinished last one included."""
    return len(_SENTENCE_END.findall(text)) + bool(_TOKEN.search(text, len(finished_part(text))))


def sentences(text: str) -> list[tuple[int, int]]:
    """The characters of each sentence: first and the one after its last, blanks behind included."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    ends = [len(text) - len(text[end:].lstrip()) for end in ends]
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    return list(zip([0, *ends[:-1]], ends, strict=True))


def find_mentions(text: str, lexicon: Lexicon) -> list[Mention]:
    """All objects that a text names, in order; the longest phrase at each place wins.

    Phrases do not cross punctuation ("hot, dog" is a dog) and do not take a part of a hyphenated
    word ("man-made" is no man).
    """
    words = _words(text)
    found: list[Mention] = []
    index = 0
    while index < len(words):
        length, name = _longest_at(words, index, lexicon)
        if name is not None and not (
            lexicon.colour_rule and length == 1 and _is_colour(words, index)
        ):
            start, end = words[index].start, words[index + length - 1].end
            found.append(Mention(start, end, text[start:end], name))
        index += length
    if lexicon.toilet_seat_rule and any(_says_toilet(mention.text) for mention in found):
        found = [mention for mention in found if mention.text.lower() not in ("seat", "seats")]
    return found


def first_words_naming(text: str, count: int, lexicon: Lexicon) -> str:
    """As `first_words`, but with no name that the whole text does not have.

    A cut inside a name would make another one of what is left, as of "a baby elephant" a baby;
    it is moved to before the name.
    """
    if first_words(text, count) == text:
        return text
    # Names that begin within the cut end within so many words after it.
    whole = find_mentions(first_words(text, count + lexicon.longest), lexicon)
    for shorter in range(min(count, lexicon.longest)):
        cut = first_words(text, count - shorter)
        if find_mentions(cut, lexicon) == [one for one in whole if one.end <= len(cut)]:
            return cut
    return first_words(text, count)


def _says_toilet(text: str) -> bool:
    return text.lower().startswith("toilet")


def _words(text: str) -> list[_Word]:
    words: list[_Word] = []
    previous_end = 0
    for token in _TOKEN.finditer(text):
        parts = list(re.finditer(r"[^-]+", token.group()))
        for number, part in enumerate(parts):
            word = re.split(r"['\u2019]", part.group(), maxsplit=1)[0]
            start = token.start() + part.start()
            between = text[previous_end:start]
            words.append(
                _Word(
                    text=word.lower(),
                    start=start,
                    end=start + len(word),
                    opens=number == 0,
                    closes=number == len(parts) - 1,
                    attached=bool(words) and between.strip() in ("", "-"),
                )
            )
            previous_end = start + len(word)
    return words


def _longest_at(words: list[_Word], index: int, lexicon: Lexicon) -> tuple[int, str | None]:
    """How many words to take at a place, and the object they name (None: no object)."""
    if not words[index].opens:
        return 1, None
    limit = min(lexicon.longest, len(words) - index)
    run = next((n for n in range(1, limit) if not words[index + n].attached), limit)
    for length in range(run, 0, -1):
        phrase = tuple(word.text for word in words[index : index + length])
        if words[index + length - 1].closes and phrase in lexicon.phrases:
            return length, lexicon.phrases[phrase]
    return 1, None


def _is_colour(words: list[_Word], index: int) -> bool:
    """Whether "orange" at a place describes something instead of naming the fruit."""
    if words[index].text != "orange":
        return False
    before = words[index - 1] if index > 0 and words[index].attached else None
    following = words[index + 1 : index + 3]
    after = following[0] if following and following[0].attached else None
    if before is not None and (
        before.text in _LINKING
        or before.text in _COLOURS
        or (before.text in ("and", "or") and index > 1 and words[index - 2].text in _COLOURS)
    ):
        return True
    if after is None:
        return False
    if after.text in ("and", "or") and len(following) > 1 and following[1].text in _COLOURS:
        return True
    return after.text not in _AFTER_A_NOUN
