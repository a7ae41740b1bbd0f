"""Whether an answer can be checked: said before it is written."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from secondsight.checking.questions import answer_ids
from secondsight.errors import ImageError, MethodError
from secondsight.methods import Method
from secondsight.methods.checks import Checking
from secondsight.objects.finding import finder
from secondsight.sample import Sample
from secondsight.settings import Settings


def check_checkable(
    tokenizer: PreTrainedTokenizerBase,
    checking: Checking,
    method: Method,
    settings: Settings,
    seen: Sequence[Sample],
) -> None:
    """Refuse what cannot be checked.

    Args:
        tokenizer: The model's.
        checking: What is to be done.
        method: What writes the answer.
        settings: How.
        seen: The sample as each view sees it, the original first.

    Raises:
        ImageError: There is no image to ask about.
        MethodError: The answer is searched for, and so cannot be written on from a place in it.
        UserError: Nothing finds the objects, or the tokenizer does not tell yes from no.
    """
    if not seen[0].images:
        raise ImageError(
            "There is no image to ask about: an answer is checked against what the model sees."
        )
    if checking.basis != "token":
        answer_ids(tokenizer)
    finder(checking.objects)
    searched = settings.num_beams > 1 or method.search() is not None
    if searched and (checking.repair in ("rewrite", "constrain") or checking.basis == "token"):
        raise MethodError(
            f"check:repair={checking.repair} writes an answer on from a place in it, which a "
            "search (num_beams, opera) does not do: use check:repair=drop, or no search."
        )
    if settings.num_return_sequences > 1:
        raise MethodError("check looks after one answer: num_return_sequences must be 1.")
    if checking.views and any(map(_inside, seen)):
        raise MethodError(
            "check:ask_views=true asks views that see another image or text, and those of "
            f"{method.name} change what happens inside the model: leave it out."
        )


def _inside(seen: Sample) -> bool:
    """Whether a view is more than another image or text."""
    return bool(seen.late or seen.attention or seen.steering)
