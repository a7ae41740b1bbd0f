"""What an answer states about the image: objects, their number, their colour."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from secondsight.checking.questions import existence, with_article
from secondsight.objects.finding import Finder
from secondsight.objects.mentions import Mention

Kind = Literal["object", "count", "colour"]
Read = Callable[[Sequence[int]], str]
"""The text of ids, as answers have it."""

_NEGATION: Final = re.compile(
    r"\b(?:no|not|without|never|neither|nor|none|cannot|isn't|aren't|wasn't|weren't|don't|doesn't"
    r"|didn't|hasn't|haven't|can't)\b",
    re.IGNORECASE,
)
_CLAUSE: Final = re.compile(r"[.!?;:,]|\b(?:but|however|instead|although|though|while)\b")
NUMBERS: Final = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
"""Words for numbers, from two."""

_COUNT: Final = re.compile(
    rf"\b({'|'.join(NUMBERS)}|[2-9]|1\d)\s+(?:[a-z]+\s+){{0,2}}$",
    re.IGNORECASE,
)
_COLOUR: Final = (
    r"red|green|blue|yellow|white|black|brown|pink|purple|grey|gray|orange|silver|gold|beige"
)
_COLOUR_BEFORE: Final = re.compile(rf"\b({_COLOUR})\s+$", re.IGNORECASE)
_COLOUR_BEHIND: Final = re.compile(rf"\s+(?:is|are)\s+({_COLOUR})\b(?!\s+and\s+(?:{_COLOUR})\b)")


@dataclass(frozen=True)
class Claim:
    """One thing that an answer states.

    Attributes:
        kind: That an ``object`` is there, how many of it (``count``), or its ``colour``.
        object: The object's name.
        start: Index of the first character of the words that state it.
        end: Index after their last character.
        text: Those characters.
        tokens: The places of their tokens among the answer's ids.
        question: The yes/no question about it.
    """

    kind: Kind
    object: str
    start: int
    end: int
    text: str
    tokens: range
    question: str


def claims_in(
    text: str,
    ends: Sequence[int],
    finder: Finder,
    *,
    images: int = 1,
    attributes: bool = False,
) -> list[Claim]:
    """All that an answer states, in order; what it denies is left out.

    Args:
        text: The answer.
        ends: How many of its characters are there after each token; see `ends_of`.
        finder: Finds objects.
        images: How many images there are, for the questions.
        attributes: Whether numbers and colours are looked for, too.
    """
    mentions = [one for one in finder.mentions(text) if not _denied(text, one)]
    if not mentions:
        return []
    found: dict[tuple[int, str], Claim] = {}
    for mention in mentions:
        stated = [("object", mention.start, mention.end, existence(mention.object, images=images))]
        stated += _attributes(text, mention, images) if attributes else []
        for kind, start, end, question in stated:
            claim = Claim(
                kind,  # type: ignore[arg-type]
                mention.object,
                start,
                end,
                text[start:end],
                _tokens(ends, start, end),
                question,
            )
            found.setdefault((start, kind), claim)
    return [found[key] for key in sorted(found)]


def ends_of(ids: Sequence[int], read: Read, known: Sequence[int] = ()) -> list[int]:
    """How many characters of the text are there after each token; it never falls.

    Args:
        ids: The tokens.
        read: The text of some of them.
        known: What is known of the first tokens.
    """
    ends = list(known[: len(ids)])
    for count in range(len(ends) + 1, len(ids) + 1):
        # Half a character is shown as a replacement, which the next token takes back.
        length = len(read(ids[:count]).rstrip("\ufffd"))
        ends.append(max(length, ends[-1]) if ends else length)
    return ends


def first_token(ends: Sequence[int], start: int) -> int:
    """The place of the token with which a character is written."""
    return next((place for place, end in enumerate(ends) if end > start), len(ends))


def _tokens(ends: Sequence[int], start: int, end: int) -> range:
    """The tokens of which at least one character lies there."""
    last = next((place for place, one in enumerate(ends) if one >= end), len(ends) - 1)
    return range(first_token(ends, start), last + 1)


def _denied(text: str, mention: Mention) -> bool:
    """Whether a name stands behind a negation in its own clause ("there is no dog")."""
    clause = _CLAUSE.split(text[: mention.start])[-1]
    return _NEGATION.search(clause.replace("\u2019", "'")) is not None


def _attributes(text: str, mention: Mention, images: int) -> list[tuple[str, int, int, str]]:
    """The number and the colour that a text gives an object, if it does."""
    where = f"in the {'image' if images == 1 else 'images'}?"
    before = text[max(0, mention.start - 60) : mention.start]
    offset = mention.start - len(before)
    found = []
    if number := _COUNT.search(before):
        start, end = (offset + place for place in number.span(1))
        question = f"Are there {number[1].lower()} {mention.text.lower()} {where}"
        found.append(("count", start, end, question))
    colour = _COLOUR_BEFORE.search(before)
    start = offset
    if colour is None:
        colour, start = _COLOUR_BEHIND.match(text, mention.end), 0
    if colour is not None:
        name = with_article(f"{colour[1].lower()} {mention.object}")
        place = (start + colour.start(1), start + colour.end(1))
        found.append(("colour", *place, f"Is there {name} {where}"))
    return found
