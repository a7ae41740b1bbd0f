"""What is changed inside the model for one row, whenever the model reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel

from secondsight.decoding.attention import RowEdit, editing
from secondsight.decoding.collate import ModelInputs
from secondsight.decoding.overwriting import overwriting
from secondsight.decoding.sharing import Prefix
from secondsight.decoding.steering import Direction, direction, turning
from secondsight.edits import AttentionEdit, Late, Overwritten, Steering
from secondsight.errors import MethodError, UnsupportedError
from secondsight.layout import PromptLayout
from secondsight.sample import Sample


@dataclass(frozen=True, eq=False)
class Edits:
    """What a view changes, as it was declared.

    Attributes:
        attention: An edit of its attention.
        probe: An edit that changes nothing and looks on, for a late view.
        late: What decides, once the base's prompt has been read, on embeddings to replace.
        steering: How its hidden states are turned.
        without: The inputs of its prompt without the image, which steering compares with.
    """

    attention: AttentionEdit | None = None
    probe: AttentionEdit | None = None
    late: Late | None = None
    steering: Steering | None = None
    without: ModelInputs | None = None

    @property
    def at_work(self) -> AttentionEdit | None:
        """The edit that passes over the view are made with."""
        return self.attention or self.probe


def edits_of(seen: Sequence[Sample]) -> list[Edits | None]:
    """What each view changes inside the model.

    Args:
        seen: The sample as each view sees it, the base first.

    Raises:
        MethodError: The base's attention is to be edited, and watched for another view.
    """
    found = [
        Edits(one.attention, late=one.late, steering=one.steering)
        if one.attention or one.late or one.steering
        else None
        for one in seen
    ]
    probes = {one.late.probe for one in seen if one.late is not None}
    if probes:
        if len(probes) > 1 or seen[0].attention is not None or seen[0].steering is not None:
            raise MethodError("Two parts of this method edit or watch the attention to the image.")
        found[0] = Edits(probe=probes.pop())
    return found


@dataclass(eq=False)
class Changes:
    """The changes of one row.

    Attributes:
        edits: What was declared.
        layout: Where things are in its prompt.
        base: The changes of the base's row, which a late decision stands on.
        overwritten: Replaced embeddings of its prompt; None before that is decided.
        direction: Where its hidden states are turned; None before that is known.
        found: What its attention edit decided when its newest token was read, or the last one
            that asked for a decision.
    """

    edits: Edits
    layout: PromptLayout
    base: Changes | None = None
    overwritten: Overwritten | None = None
    direction: Direction | None = None
    found: Mapping[str, Any] = field(default_factory=dict)

    def facts(self, step: int) -> Mapping[str, Any]:
        """What was decided for a token, for the evidence.

        Args:
            step: How many tokens were written before it.
        """
        once = self.overwritten.facts if self.overwritten is not None and step == 0 else {}
        return {**(self.found if self.edits.attention else {}), **once}

    def shared(self, prefix: Prefix) -> Prefix | None:
        """The beginning of the prompt that other rows may share.

        Args:
            prefix: The one without changes.
        """
        edit = self.edits.at_work
        if self.edits.late or self.edits.steering or (edit is not None and edit.whole_prompt):
            return None
        if edit is None or edit.queries(self.layout).start >= prefix.length:
            return prefix
        return Prefix((prefix.key, edit), prefix.length)

    def decide(self, model: PreTrainedModel, prompt: ModelInputs) -> None:
        """Decide what has to be decided before the model reads the row.

        Args:
            model: The model.
            prompt: The inputs of its prompt.

        Raises:
            UnsupportedError: It is to be steered, and the prompt without the image is not there.
        """
        steering = self.edits.steering
        if steering is not None and self.direction is None:
            if self.edits.without is None:
                raise UnsupportedError(
                    "vista compares the prompt with the same one without the image, which "
                    "generate does not have: use secondsight's own model.answer."
                )
            self.direction = direction(model, steering, prompt, self.edits.without)
        late = self.edits.late
        if late is not None and self.overwritten is None:
            found = self.base.found if self.base is not None else None
            assert found, "a base's prompt is read before what is made of it"
            self.overwritten = late.overwritten(found, self.layout)


@contextmanager
def changing(
    model: PreTrainedModel,
    rows: Sequence[Changes | None],
    firsts: Sequence[int],
    *,
    unread: bool,
) -> Iterator[None]:
    """Make the changes of rows in the one forward pass that is made within.

    Args:
        model: The model.
        rows: For each row of the pass its changes, or None.
        firsts: The key of each row's first position, counted from the first of the pass.
        unread: Whether the pass reads the rows from their beginning.
    """
    if all(row is None for row in rows):
        yield
        return
    edits = [
        RowEdit(edit, row.layout, first) if row and (edit := row.edits.at_work) else None
        for row, first in zip(rows, firsts, strict=True)
    ]
    replaced = [row.overwritten if row is not None and unread else None for row in rows]
    turned = [row.direction if row is not None else None for row in rows]
    with (
        overwriting(model, replaced, firsts),
        turning(model, turned),
        editing(model, edits) as attention,
    ):
        yield
    for place, found in attention.facts().items():
        row = rows[place]
        assert row is not None
        row.found = found
