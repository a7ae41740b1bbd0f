"""Who finds the objects of a text: a lexicon, noun phrases, or a list of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

from secondsight.errors import DataError, UserError, shown
from secondsight.extras import needed
from secondsight.objects.lexicon import Lexicon, coco_lexicon, forms, read_lexicon, words_of
from secondsight.objects.mentions import Mention, find_mentions

Objects = str | Sequence[str]
"""Whose names are looked for: "" for COCO's, "nouns", a file in CHAIR's format, or a list."""


def _words_in(text: str) -> frozenset[str]:
    return frozenset(text.split())


PIPELINE: Final = "en_core_web_sm"
"""spaCy's pipeline for noun phrases."""


class Finder(Protocol):
    """Finds objects in texts."""

    def mentions(self, text: str) -> list[Mention]:
        """All objects that a text names, in order."""
        ...

    def spellings(self, name: str) -> list[str]:
        """How an object may be written, in lower case."""
        ...


@dataclass(frozen=True)
class ByLexicon:
    """Finds the objects of a lexicon.

    Attributes:
        lexicon: Which phrases name which object.
    """

    lexicon: Lexicon

    def mentions(self, text: str) -> list[Mention]:
        """See `Finder.mentions`."""
        return find_mentions(text, self.lexicon)

    def spellings(self, name: str) -> list[str]:
        """See `Finder.spellings`."""
        return [" ".join(phrase) for phrase, one in self.lexicon.phrases.items() if one == name]


_NO_THING: Final = _words_in(
    "image picture photo photograph scene view side left right top bottom middle center centre "
    "background foreground corner front back edge area part number variety sense"
)
"""Heads of noun phrases that name no object of an image."""


@dataclass(frozen=True)
class ByNouns:
    """Finds noun phrases: whatever they name, by its head and the nouns before it.

    Attributes:
        pipeline: spaCy's, with a parser and lemmas.
    """

    pipeline: Any

    def mentions(self, text: str) -> list[Mention]:
        """See `Finder.mentions`."""
        found = []
        for chunk in self.pipeline(text).noun_chunks:
            head = chunk.root
            if head.pos_ != "NOUN" or head.lemma_.lower() in _NO_THING:
                continue
            words = [head]
            while words[0].i > chunk.start and words[0].nbor(-1).dep_ == "compound":
                words.insert(0, words[0].nbor(-1))
            start, end = words[0].idx, head.idx + len(head.text)
            name = " ".join([*(word.lower_ for word in words[:-1]), head.lemma_.lower()])
            found.append(Mention(start, end, text[start:end], name))
        return found

    def spellings(self, name: str) -> list[str]:
        """See `Finder.spellings`."""
        return sorted(" ".join(form) for form in forms(words_of(name)))


def finder(objects: Objects = "") -> Finder:
    """Who finds the objects of texts.

    Args:
        objects: "" for COCO's 80 objects and their synonyms; ``nouns`` for all noun phrases, which
            spaCy finds; the path of a synonym file in CHAIR's format; or a list of names.

    Raises:
        DataError: The file cannot be read.
        MissingPackageError: spaCy or its pipeline is not installed.
        UserError: It is none of these.
    """
    if isinstance(objects, str):
        return _by_text(objects)
    names = list(objects)
    wrong = next((one for one in names if not isinstance(one, str) or not words_of(one)), None)
    if wrong is not None or not names:
        raise UserError(f"A list of objects holds names, at least one, and not {shown(wrong)}.")
    return ByLexicon(Lexicon({}).including(names))


@cache
def _by_text(objects: str) -> Finder:
    if not objects:
        return ByLexicon(coco_lexicon())
    if objects != "nouns":
        return ByLexicon(read_lexicon(objects))
    with needed("nouns", "Finding noun phrases"):
        import spacy
    try:
        return ByNouns(spacy.load(PIPELINE))
    except OSError as error:
        raise DataError(
            f"spaCy has no pipeline {PIPELINE!r}: python -m spacy download {PIPELINE}"
        ) from error
