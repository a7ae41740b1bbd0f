"""The answer by words: which tokens, how much each depended on the image, what it names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from secondsight.answer import Doubt
from secondsight.objects.lexicon import coco_lexicon
from secondsight.objects.mentions import find_mentions
from secondsight.trace.token_facts import TokenFacts, Word

_WORD: Final = re.compile(r"\s*\S+|\s+")


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each id adds to the text; joined they are the whole text.

    A character whose bytes come in several tokens belongs to the last of them.
    """

    def read(count: int) -> str:
        return str(tokenizer.decode(list(ids[:count]), skip_special_tokens=True))

    whole = read(len(ids))
    texts: list[str] = []
    end = 0
    for count in range(1, len(ids) + 1):
        shown = read(count) if count < len(ids) else whole
        # Only what the whole text has as well: later bytes may change how earlier ones read.
        stop = max(end, _same_until(shown, whole))
        texts.append(whole[end:stop])
        end = stop
    return texts


def _same_until(one: str, other: str) -> int:
    """How many characters two texts have in common at the beginning."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))


def answer_words(
    tokens: Sequence[TokenFacts], doubts: Sequence[Doubt] = (), threshold: float = 1.0
) -> tuple[Word, ...]:
    """The words of the answer, with the objects that they name.

    Args:
        tokens: The answer's tokens.
        doubts: What is doubted of the answer.
        threshold: What is likelier than this to be made up is doubtful.
    """
    text = "".join(token.text for token in tokens)
    spans = []
    end = 0
    for token in tokens:
        spans.append((end, end + len(token.text)))
        end += len(token.text)
    mentions = find_mentions(text, coco_lexicon())
    found = []
    for match in _WORD.finditer(text):
        start, stop = match.span()
        inside = tuple(
            token.index
            for token, (first, last) in zip(tokens, spans, strict=True)
            if start <= first < stop and last > first
        )
        bits = [tokens[index].dependence for index in inside]
        known = [value for value in bits if value is not None]
        named = next((one.object for one in mentions if one.start < stop and one.end > start), None)
        likely = max(
            (one.probability for one in doubts if one.start < stop and one.end > start),
            default=None,
        )
        doubtful = likely is not None and likely > threshold
        dependence = sum(known) if known else None
        found.append(Word(match.group(), inside, dependence, named, likely, doubtful))
    return tuple(found)
