"""Which words of a description AMBER counts as nouns, and which nouns are nearly the same.

The official script asks a tagger for the nouns, and spaCy's large English vectors whether two
words are near synonyms. With a spaCy pipeline at hand, `SpacyWords` asks it for both. Without,
`plain_nouns` goes by the words before: no word after "to" or a modal verb is a noun, and words
that are mostly no nouns ("can be seen", "people watch") need an article or the like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from functools import cache
from typing import Any, Protocol

from secondsight.errors import UserError
from secondsight.extras import needed
from secondsight.objects.lexicon import words_of

SIMILARITY = 0.8
"""Cosine above which the official script calls two words near synonyms."""

Similar = Callable[[str, str], bool]

_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_BEFORE_VERBS = frozenset(
    words_of("to can could will would may might must shall should i you we they")
)
_PRONOUNS = frozenset(words_of("he she it who which that there one people"))
_DETERMINERS = frozenset(
    words_of(
        "a an the this these those his her its their my your our some any no another each every "
        "two three four five six seven eight nine ten several many few multiple"
    )
)
# Mostly verbs or adjectives; "can" more than all, so that what follows counts as well.
_RARELY_NOUNS = frozenset(
    words_of("can leave watch sailing sound support skate drink note file switch lock")
)
_NEVER_NOUNS = frozenset(("hot",))
_AFTER_THE_VERB_CAN = frozenset(words_of("be also see not only easily clearly"))


class Words(Protocol):
    """A judge of words."""

    def nouns(self, text: str) -> list[str]:
        """The nouns of a text in order, lower-case, in any form."""
        ...

    def similar(self, first: str, second: str) -> bool:
        """Whether two nouns are near synonyms."""
        ...


def plain_nouns(text: str, known: Container[str]) -> list[str]:
    """Words of a text that may be nouns, without a tagger.

    Args:
        text: The description.
        known: Words that are objects, of which no other word can be the article.
    """
    words = _WORD.findall(text.lower())
    return [word for place, word in enumerate(words) if _may_be_noun(words, place, known)]


def _may_be_noun(words: list[str], place: int, known: Container[str]) -> bool:
    word, before = words[place], words[max(0, place - 2) : place]
    last = before[-1] if before else ""
    if word in _NEVER_NOUNS or last in _BEFORE_VERBS:
        return False
    if word not in _RARELY_NOUNS:
        return True
    if word == "can" and words[place + 1 : place + 2] and words[place + 1] in _AFTER_THE_VERB_CAN:
        return False
    if last in _DETERMINERS:
        return True
    described = last not in _PRONOUNS and last not in known
    return described and bool(before) and before[0] in _DETERMINERS


class SpacyWords:
    """A spaCy pipeline with word vectors, such as the official ``en_core_web_lg``.

    Args:
        name: The pipeline's name or folder.

    Raises:
        UserError: If spaCy or the pipeline is not installed, or has no word vectors.
    """

    def __init__(self, name: str) -> None:
        with needed("nouns", "Finding near synonyms"):
            import spacy
        try:
            self._pipeline: Any = spacy.load(name)
        except OSError:
            raise UserError(
                f"spaCy has no pipeline {name!r}: python -m spacy download {name}"
            ) from None
        if not self._pipeline.vocab.vectors_length:
            raise UserError(f"the spaCy pipeline {name!r} has no word vectors; try en_core_web_lg")
        self._parsed = cache(self._pipeline)
        self.similar = cache(self._similar)

    def nouns(self, text: str) -> list[str]:
        """The nouns as the pipeline's tagger has them, as lemmas."""
        return [
            token.lemma_.lower()
            for token in self._pipeline(text)
            if token.pos_ in ("NOUN", "PROPN")
        ]

    def _similar(self, first: str, second: str) -> bool:
        return bool(self._parsed(first).similarity(self._parsed(second)) > SIMILARITY)
