"""Cutting what is doubted out of a text, so that what stays is still English.

By sentences, each by itself: of a list the doubted items go; a doubted thing behind a preposition
goes with it; else the sentence goes, and the sentences after it that speak of "it". A doubted
colour before a name goes alone, and of a doubted number "some" is left.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from secondsight.checking.claims import NUMBERS
from secondsight.objects.mentions import sentences

Span = tuple[int, int]
"""First character and the one after the last."""

_SEPARATOR: Final = re.compile(r",\s+(?:and|or|as well as)\s+|,\s+|\s+(?:and|or|as well as)\s+")
_THING: Final = re.compile(
    r"\b(?:an?|the|some|one|two|three|four|five|six|seven|eight|nine|ten|several|many|few|"
    r"multiple|various|another|both|his|her|its|their|\d+)\s+"
    r"(?:(?:pair|couple|group|bunch|set)s?\s+of\s+)?",
    re.IGNORECASE,
)
_SEVERAL: Final = re.compile(
    r"(?:some|two|three|four|five|six|seven|eight|nine|ten|several|many|few|multiple|various|both|"
    r"\d+)\b",
    re.IGNORECASE,
)
_LINKS: Final = re.compile(r"\b(?:is|are|was|were|of|that|which)\b|[,;:]", re.IGNORECASE)
_LINKS_OR_PLACES: Final = re.compile(
    _LINKS.pattern + r"|\b(?:with|on|in|at|to|by)\b", re.IGNORECASE
)
"""What no describing word between a determiner and a name is."""
_PREPOSITION: Final = re.compile(
    r"(?:,\s+)?\b(?:along\s+with|together\s+with|next\s+to|in\s+front\s+of|on\s+top\s+of|"
    r"to\s+the\s+(?:left|right)\s+of|close\s+to|with|near|beside|behind|under|above|below|beneath|"
    r"against|holding|wearing|carrying|on|in|at|by|from|over)\s*$",
    re.IGNORECASE,
)
_BE: Final = re.compile(r"\b(?:is|are|was|were|be|being|been)\s*$", re.IGNORECASE)
_DETERMINED: Final = re.compile(
    r"\b(?:the|these|those|all|his|her|its|their|both)\s+(?:of\s+the\s+)?$", re.IGNORECASE
)
"""What stands before a number without which the name is several all the same."""
_IS: Final = re.compile(r"(?<!there )\b(?:is|are)\s+$", re.IGNORECASE)
"""What stands before a word that is said of something, as in "the cup is red"."""
_PREDICATE: Final = re.compile(
    r"\s+(is|are|was|were|has|have|\w+ing|\w+s\s+(?:on|in|at|next|near|by))\b"
    r"|\s+in\s+the\s+(?:image|picture|photo|scene|background|foreground)\b",
    re.IGNORECASE,
)
_SINGULAR: Final = {"are": "is", "were": "was", "have": "has"}
_THERE_ARE: Final = re.compile(r"(\bthere\s+)(are|were)(\s+)$", re.IGNORECASE)
_SPEAKS_OF_IT: Final = re.compile(
    r"(?:it|they|he|she|its|their|his|her|both|one|the\s+others?|these|those|this|that)\b"
    r"(?!\s+(?:looks?\s+like|seems?|appears?\s+to\s+be)\b)",
    re.IGNORECASE,
)


def drop(text: str, doubted: Sequence[Span], attributes: Sequence[Span] = ()) -> str:
    """A text without what is doubted; each of its sentences depends on those before it alone.

    Args:
        text: The text.
        doubted: The doubted names' characters.
        attributes: Those of doubted numbers and colours of names.
    """
    kept: list[str] = []
    gone = False
    for start, end in sentences(text):
        sentence = text[start:end]
        inside = [(one - start, other - start) for one, other in doubted if start <= one < end]
        for one, other in sorted(attributes, reverse=True):
            if start <= one < end:
                sentence, inside = _plain(sentence, (one - start, other - start), inside)
        if inside:
            left = _without(sentence, inside)
            gone = left is None
            kept.append(left or "")
        elif not (gone and _SPEAKS_OF_IT.match(sentence.lstrip())):
            gone = False
            kept.append(sentence)
    return "".join(kept).strip()


def _plain(sentence: str, word: Span, doubted: list[Span]) -> tuple[str, list[Span]]:
    """A sentence without a name's number or colour, and where what is doubted in it is then."""
    if _IS.search(sentence, 0, word[0]):  # what is left of it says nothing
        return sentence, sorted([*doubted, word])
    number = sentence[word[0] : word[1]].lower() in NUMBERS or sentence[word[0]].isdigit()
    start, end = word[0], len(sentence) - len(sentence[word[1] :].lstrip())
    new = "some " if number and not _DETERMINED.search(sentence, 0, start) else ""
    if new and not sentence[:start].strip():
        new = "Some "
    article = re.search(r"\b(an?)\s+$", sentence[:start], re.IGNORECASE)
    if not number and article:
        vowel = sentence[end : end + 1].lower() in "aeiou"
        new = ("An " if article[1][0].isupper() else "an ") if vowel else article[1][0] + " "
        start = article.start()
    grown = len(new) - (end - start)
    moved = [
        (one, other) if other <= start else (one + grown, other + grown) for one, other in doubted
    ]
    return sentence[:start] + new + sentence[end:], moved


def _without(sentence: str, doubted: Sequence[Span]) -> str | None:
    """A sentence without some names; None where nothing of it can stay."""
    changes: list[tuple[int, int, str]] = []
    left = sorted(doubted)
    for found in _lists(sentence):
        own = [name for name in left if found.holds(name)]
        if own:
            written = found.without(own)
            if written is None:
                return None
            changes.append((found.start, found.end, written))
            left = [name for name in left if name not in own]
    for name in left:
        place = _with_preposition(sentence, name)
        if place is None:
            return None
        if not any(start <= place[0] < end for start, end, _ in changes):
            changes.append((*place, ""))
    for start, end, written in sorted(changes, reverse=True):
        sentence = sentence[:start] + written + sentence[end:]
    return sentence


@dataclass(frozen=True)
class _List:
    """Things in a row, such as "a dog, a cat and two birds", and what stands around them.

    Attributes:
        sentence: The sentence.
        things: Where each thing begins and ends; the last may end behind what is said of all.
        breaks: What stands between two of them.
        start: Where a verb that agrees with them begins, or they do.
    """

    sentence: str
    things: tuple[Span, ...]
    breaks: tuple[str, ...]
    start: int

    @property
    def end(self) -> int:
        return self.things[-1][1]

    def holds(self, name: Span) -> bool:
        """Whether a name is what one of the things is."""
        return any(
            start <= name[0] < end and _is_head(self.sentence[start : name[0]])
            for start, end in self.things
        )

    def without(self, names: Sequence[Span]) -> str | None:
        """The list without some of its things; None where none would be left."""
        texts, tail = [], ""
        for start, end in self.things:
            own = next((name for name in names if start <= name[0] < end), None)
            if own is None:
                texts.append(self.sentence[start:end])
            elif end == self.end:
                said = _PREDICATE.match(self.sentence, own[1], end)
                tail = self.sentence[own[1] : end] if said else ""
        if not texts:
            return None
        before = self.sentence[self.start : self.things[0][0]]
        single = len(texts) == 1 and not _SEVERAL.match(texts[0])
        if _THERE_ARE.search(before) and not _SEVERAL.match(texts[0]):
            before = _THERE_ARE.sub(
                lambda found: found[1] + _SINGULAR[found[2].lower()] + found[3], before
            )
        if self.things[0][0] == 0:
            texts[0] = texts[0][:1].upper() + texts[0][1:]
            tail = _agreeing(tail) if single else tail
            if single and not tail:
                texts[0] = _agreeing(texts[0])
        return before + self._joined(texts) + tail

    def _joined(self, texts: Sequence[str]) -> str:
        last = self.breaks[-1]
        if len(texts) == 2:
            last = re.sub(r"^,(?=\s+\w)", "", last)
        return "".join([", ".join(texts[:-1]), last if len(texts) > 1 else "", texts[-1]])


def _lists(sentence: str) -> list[_List]:
    """The lists of a sentence, of two things or more each."""
    body = len(sentence.rstrip(" \n.!?\"'\u201d\u2019)"))
    breaks = list(_SEPARATOR.finditer(sentence, 0, body))
    edges = [0, *(place for found in breaks for place in found.span()), body]
    parts = [(edges[at], edges[at + 1]) for at in range(0, len(edges), 2)]
    found: list[_List] = []
    at = 0
    while at < len(parts):
        first = _last_thing(sentence, *parts[at])
        stop = at + 1
        while stop < len(parts) and _THING.match(sentence, parts[stop][0]):
            stop += 1
        if first is not None and stop > at + 1:
            things = ((first, parts[at][1]), *parts[at + 1 : stop])
            between = tuple(one[0] for one in breaks[at : stop - 1])
            there = _THERE_ARE.search(sentence, 0, first)
            found.append(_List(sentence, things, between, there.start() if there else first))
        at = stop
    return found


def _last_thing(sentence: str, start: int, end: int) -> int | None:
    """Where the thing begins that a part of a sentence ends with."""
    places = [one.start() for one in _THING.finditer(sentence, start, end)]
    return next((at for at in reversed(places) if not _LINKS.search(sentence[at:end])), None)


def _is_head(words: str) -> bool:
    """Whether a name behind these words is what a thing is, and not something in or on it."""
    first = _THING.match(words)
    return first is not None and not _LINKS_OR_PLACES.search(words[first.end() :])


def _agreeing(text: str) -> str:
    """One thing "is", where several "are"."""
    verb = _PREDICATE.search(text)
    if verb is None or verb[1] is None or verb[1].lower() not in _SINGULAR:
        return text
    return text[: verb.start(1)] + _SINGULAR[verb[1].lower()] + text[verb.end(1) :]


def _with_preposition(sentence: str, name: Span) -> Span | None:
    """A thing and the preposition before it, where both can go without a trace."""
    places = [one.start() for one in _THING.finditer(sentence, 0, name[0])]
    thing = next((at for at in reversed(places) if _is_head(sentence[at : name[0]])), None)
    if thing is None:
        return None
    found = _PREPOSITION.search(sentence, 0, thing)
    after = re.match(r"\s*(?:[.!?,;]|and\b|while\b)", sentence[name[1] :])
    if found is None or after is None:
        return None
    before = re.sub(r"(?:,|\s+and|\s+or)\s*$", "", sentence[: found.start()].rstrip())
    if not before.strip() or _BE.search(before):
        return None
    return len(before), name[1]
