"""The model's rows: a pool of them in one cache, one row per view and sequence.

The newest token of every row is in the slot before `Pool.head`. A prompt of n positions that joins
goes into the slots ``[head - n, head)`` of free rows, so nothing that is there moves, whatever its
length. Rows of base views grow to the left of a fixed row, those of all other views to the right
of it: the base views alone, the others alone, and all of them together are neighbours each time,
and neighbours are read without a copy.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from secondsight.decoding.altered import Attended
from secondsight.decoding.cache import RowIndex, SlotCache, Window, takes_masks
from secondsight.decoding.changes import Changes, Edits, changing
from secondsight.decoding.collate import TOKEN_ALIGNED, ModelInputs, join
from secondsight.decoding.lean import Lean, lean_of
from secondsight.decoding.recording import RowExits, Span, taking
from secondsight.decoding.sharing import Beginning, Prefix, PrefixCache
from secondsight.decoding.stack import stack_of
from secondsight.decoding.transformers5 import (
    CACHE,
    encode_images,
    masks_pay,
    next_token_types,
    prompt_positions,
)
from secondsight.layout import image_slot, prompt_layout

_STATE: Final = (*TOKEN_ALIGNED, "position_ids")
"""Inputs with one value per token, which the pool keeps for its rows."""

_READ: Final = ("input_ids", "position_ids")
"""What the newest token is read from."""

OWN_INPUTS: Final = (CACHE, "use_cache", "output_attentions", "output_hidden_states")
"""Inputs that `generate` prepares and the engine decides itself."""

_SPARE_SLOTS: Final = 128
"""Slots allocated beyond what is needed now, so that growing is rare and memory is not wasted."""

_LEAST_ROWS: Final = 8
_SPARE_LEFT: Final = 512
"""Rows, and slots before the first prompt for longer ones to come, that are allocated on a CPU,
where memory that nobody has written costs nothing."""


@dataclass(eq=False)
class Prompt:
    """The inputs of one prompt; of several where their pixels cannot be told apart.

    Attributes:
        inputs: The model inputs, batch first.
        prefix: The beginning that other prompts may share.
        edits: What is changed inside the model while it reads them.
    """

    inputs: ModelInputs
    prefix: Prefix | None = None
    edits: Edits | None = None

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])

    def rows(self) -> list[Row]:
        """A row for each prompt, in their order."""
        return [Row(self, place) for place in range(len(self))]


@dataclass(eq=False)
class Row:
    """One prompt and what is written behind it: where it is, and how far the model has read it.

    Attributes:
        prompt: Its inputs; their pixels are needed until it has been read.
        place: Which prompt of them.
        index: Its row in the cache.
        first: Its first slot.
        end: The slot after its prompt.
        cached: The slot after the last one that the model has read; 0 when it has read nothing.
        gapped: Whether there are masked positions within its prompt.
        exits: Its early exits, if it has any.
        base: The row of its sequence's base view; None of a base view's.
        changes: What is changed inside the model while it is read.
    """

    prompt: Prompt
    place: int = 0
    index: int = -1
    first: int = 0
    end: int = 0
    cached: int = 0
    gapped: bool = False
    exits: RowExits | None = None
    base: Row | None = None
    changes: Changes | None = None

    @property
    def waits(self) -> bool:
        """Whether it can only be read when its base has been."""
        late = self.prompt.edits is not None and self.prompt.edits.late is not None
        return late and self.base is not None and self.base.unread

    @property
    def unread(self) -> bool:
        """Whether the model has read nothing of it."""
        return self.cached == 0

    @property
    def prefix(self) -> Prefix | None:
        """The beginning that others may share: those that change and keep the same of it."""
        shared = self.prompt.prefix
        if shared is not None and self.exits is not None and self.exits.needs.images:
            shared = Prefix((shared.key, self.exits.needs.images), shared.length)
        if shared is None or self.changes is None:
            return shared
        return self.changes.shared(shared)

    @property
    def split(self) -> int:
        """The slot after the beginning that others may share."""
        return self.first + (self.prefix.length if self.prefix else 0)

    def begin(self, beginning: Beginning) -> None:
        """Note that a kept beginning was copied in."""
        self.cached = self.split
        if self.exits is not None:
            self.exits.shown = dict(beginning.shown)

    def shift(self, by: int) -> None:
        """Move all slots."""
        self.first, self.end = self.first + by, self.end + by
        self.cached = self.cached and self.cached + by


class Pool:
    """All rows of an engine.

    Args:
        model: The model; its `prepare_inputs_for_generation` shapes every forward pass.
        pad_id: The id written where a row has no token.
        kept: Prefixes of earlier prompts, and where new ones go; None where nothing is shared.

    Attributes:
        head: The slot after the newest token of every row.
        forwards: Forward passes so far.
        constants: Inputs of every pass that belong to no row, such as ``logits_to_keep``.
    """

    def __init__(self, model: PreTrainedModel, *, pad_id: int, kept: PrefixCache | None) -> None:
        self.model = model
        self.constants: dict[str, Any] = {}
        self.head = 0
        self.forwards = 0
        self._pad_id = pad_id
        self._kept = kept
        self._bases: list[Row] = []
        self._others: list[Row] = []
        self._middle = 0
        self._state: dict[str, torch.Tensor] = {}
        self._text = model.config.get_text_config(decoder=True)
        self.cache = SlotCache(self._text, 0, 0)
        self._takes_masks = takes_masks(self._text)
        self._lean: Lean | None = None
        self._masks_pay = self._takes_masks and masks_pay(self._text, model.device)

    def __len__(self) -> int:
        return len(self._bases) + len(self._others)

    def __iter__(self) -> Any:
        return itertools.chain(self._bases, self._others)

    def admit(self, bases: Sequence[Row], others: Sequence[Row], *, room: int = 0) -> None:
        """Give rows their places; nothing is read, and nothing that is there moves.

        Args:
            bases: Rows of base views, read together in this order.
            others: Rows of other views, likewise.
            room: How many rows of each kind there should be room for, where memory is free.
        """
        if not len(self):
            self._lean = lean_of(self.model)
        prompts = dict.fromkeys(row.prompt for row in (*bases, *others))
        states = {prompt: self._prompt_state(prompt) for prompt in prompts}
        longest = 0
        for row in (*bases, *others):
            mask = states[row.prompt]["attention_mask"][row.place]
            length = int((mask.cumsum(dim=-1) > 0).sum())
            row.gapped = int(mask.sum()) < length
            row.first, row.cached = -length, 0
            if row.exits is not None:
                row.exits.image = self._image_positions(row.prompt, row.place, length)
            longest = max(longest, length)
        self._make_room(longest, len(bases), len(others), room)
        self._bases = [*bases, *self._bases]
        self._others = [*self._others, *others]
        self._number()
        for row in (*bases, *others):
            row.first, row.end = self.head + row.first, self.head
            self._write_prompt(row, states[row.prompt])
        for row in (*bases, *others):
            self._note_changes(row)

    def release(self, rows: Sequence[Row]) -> None:
        """Take rows out; the outermost ones take the places that are left between others."""
        gone = set(rows)
        if len(gone) == len(self):
            self._bases, self._others, self.head = [], [], 0
            return
        self._bases = self._closed(self._bases[::-1], gone)[::-1]
        self._others = self._closed(self._others, gone)
        self._number()

    def erase(self, rows: Sequence[Row]) -> None:
        """Leave nothing behind of rows whose numbers are not finite, nor of what they shared."""
        for row in rows:
            self.cache.erase(row.index)
        if self._kept is not None:
            self._kept.clear()

    def fork(self, rows: Sequence[Row]) -> list[Row]:
        """Make rows that hold and have read what some rows do; one may be named several times.

        Args:
            rows: The rows, each one's base before it.
        """
        bases, others = (sum((row.base is None) is kind for row in rows) for kind in (True, False))
        self._make_room(0, bases, others, 0)
        made: list[Row] = []
        for row in rows:
            base = next((one for one in reversed(made) if one.base is None), None)
            made.append(replace(row, base=None if row.base is None else base))
        self._bases = [*(row for row in made if row.base is None), *self._bases]
        self._others = [*self._others, *(row for row in made if row.base is not None)]
        self._number()
        self._copy(list(zip(rows, made, strict=True)), whole=True)
        return made

    def follow(self, pairs: Sequence[tuple[Row, Row]]) -> None:
        """Let rows hold and have read what others of the same prompt do; that is not read again.

        Args:
            pairs: A row, and the one that from now on continues it.
        """
        self._copy(pairs, whole=False)

    def rewrite(self, row: Row, tokens: Sequence[int]) -> None:
        """Let a row hold other tokens behind its prompt, fewer than it held; they are yet unread.

        What is between them and the prompt is masked from now on.
        """
        begin, index = self.head - len(tokens), row.index
        for key, values in self._state.items():
            own = values[..., index, :]
            kind = own[..., row.end : row.end + 1].clone()
            if key == "input_ids":
                own[..., row.end : begin] = self._pad_id
                own[..., begin : self.head] = own.new_tensor(tokens)
            elif key == "attention_mask":
                own[..., row.end : begin] = 0
                own[..., begin : self.head] = 1
            elif key == "position_ids":
                count = torch.arange(1, len(tokens) + 1, device=own.device)
                own[..., begin : self.head] = own[..., row.end - 1 : row.end] + count
            else:
                own[..., begin : self.head] = kind
        row.cached, row.gapped = begin, True

    def append(self, tokens: Mapping[Row, int]) -> None:
        """Write one token behind every row.

        Args:
            tokens: The token of each row in the pool.
        """
        if self.head == self.cache.slots:
            self._make_slots()
        live, head = self._live, self.head
        written = [tokens[row] for row in self]
        state = self._state
        state["input_ids"][live, head] = torch.tensor(written, device=self.model.device)
        state["attention_mask"][live, head] = 1
        state["position_ids"][..., live, head] = state["position_ids"][..., live, head - 1] + 1
        if "token_type_ids" in state:
            before = state["token_type_ids"][live, head - 1 : head]
            state["token_type_ids"][live, head : head + 1] = next_token_types(self.model, before)
        self.head += 1

    def behind(self, rows: Sequence[Row]) -> int:
        """How many slots the model has yet to read for the row that is furthest behind."""
        return max(self.head - row.cached for row in rows)

    def positions(self, rows: Sequence[Row]) -> int:
        """What the longest of some rows attends to."""
        return max(self.head - row.first for row in rows)

    def read(self, rows: Sequence[Row], **options: Any) -> tuple[torch.Tensor, ModelOutput]:
        """Let the model read everything that some rows hold and it has not read.

        Args:
            rows: The rows.
            **options: Passed to the forward pass, such as ``output_attentions``.

        Returns:
            The logits that follow the last token, float32 of shape (rows, vocabulary), and the
            model's output of the forward pass that the first row was in.
        """
        for row in rows:  # one that was read, in a step that came to nothing, is read again
            row.cached = min(row.cached, self.head - 1)
        late = [row for row in rows if row.unread]
        for row in late:
            if row.changes is not None:
                row.changes.decide(self.model, row.prompt.inputs)
        self._read_prefixes([row for row in late if row.prefix is not None])
        fresh = [row for row in rows if row.unread]
        written = [row for row in fresh if self._wrote_slot(row)]
        if written:
            self._forward(written, {}, [row.end for row in written])
            fresh = [row for row in fresh if row.unread]
        one = [row for row in rows if row.cached == self.head - 1 and not row.unread]
        more = [row for row in rows if not row.unread and row.cached != self.head - 1]
        logits: dict[Row, torch.Tensor] = {}
        output: Any = None
        for group in (fresh, more, one):
            if group:
                ordered = sorted(group, key=lambda row: row.index)
                found, result = self._forward(ordered, options)
                if rows[0] in group:
                    output = result
                if len(group) == len(rows) and ordered == list(rows):
                    return found, output
                logits.update(zip(ordered, found, strict=True))
        return torch.stack([logits[row] for row in rows]), output

    def attended(self, rows: Sequence[Row], layer: int) -> Attended:
        """What the newest tokens of some rows, all of them read, attend to in a layer."""
        index, start = self._index(rows), min(row.first for row in rows)
        keys, values = self.cache.seen(layer, index, slice(start, self.head))
        own = self._state["attention_mask"][index, start : self.head].bool()
        image = torch.zeros_like(own)
        for place, row in enumerate(rows):
            if row.exits is not None:
                image[place, row.exits.image.to(image.device) + row.first - start] = True
        return Attended(keys, values, own, image)

    def text(self, row: Row) -> torch.Tensor:
        """The ids that a row holds, image positions left out, int64 of shape (ids,)."""
        held = slice(row.first, self.head)
        kept = self._state["attention_mask"][row.index, held].bool()
        if row.exits is not None:
            kept[row.exits.image.to(kept.device)] = False
        return self._state["input_ids"][row.index, held][kept]

    def export(self, rows: Sequence[Row], start: int) -> Any:
        """Neighbouring rows as transformers' own cache, from a slot to the last that was read."""
        index = self._index(rows)
        assert isinstance(index, slice)
        return self.cache.export(index, slice(start, self.head))

    # Reading

    def _read_prefixes(self, rows: Sequence[Row]) -> None:
        """Copy beginnings that are kept or that another of these rows reads, and read the others.

        They are read in a pass of their own whether others share them or not: whether one is
        kept from before must not change how anything rounds.
        """
        leaders: dict[Prefix, Row] = {}
        for row in rows:
            prefix = row.prefix
            assert prefix is not None
            known = self._kept.get(prefix.key) if self._kept is not None else None
            if known is not None:
                self.cache.copy_in(row.index, slice(row.first, row.split), known.keys_values)
                row.begin(known)
            else:
                leaders.setdefault(prefix, row)
        reading = sorted(leaders.values(), key=lambda row: row.index)
        if reading:
            self._forward(reading, {}, [row.split for row in reading])
        for prefix, leader in leaders.items():
            followers = [row for row in rows if row.unread and row.prefix == prefix]
            if not followers and self._kept is None:
                continue
            slots = slice(leader.first, leader.split)
            shown = dict(leader.exits.shown) if leader.exits is not None else {}
            found = Beginning(self.cache.copy_out(leader.index, slots), shown)
            for row in followers:
                self.cache.copy_in(row.index, slice(row.first, row.split), found.keys_values)
                row.begin(found)
            if self._kept is not None:
                self._kept.put(prefix.key, found)

    def _wrote_slot(self, row: Row) -> bool:
        """Whether an answer holds the id of an image slot, which a prompt's pass would fill."""
        slot = image_slot(self.model.config)
        if slot is None or self.head == row.end:
            return False
        return bool((self._state["input_ids"][row.index, row.end : self.head] == slot).any())

    def _forward(
        self,
        rows: Sequence[Row],
        options: Mapping[str, Any],
        stops: Sequence[int] | None = None,
    ) -> tuple[torch.Tensor, ModelOutput]:
        """Read the slots of some rows; either all of the rows are unread or none is.

        Args:
            rows: The rows, by their place in the cache.
            options: Passed to the forward pass.
            stops: The slot before which each row stops; the head if left out.
        """
        prefill = rows[0].unread
        start = min(row.first for row in rows)
        begins = [row.first if prefill else row.cached for row in rows]
        offset, stop = min(begins), max(stops or [self.head])
        index = self._index(rows)
        self.cache.window = Window(index, start, offset, stop, self._fresh(begins, offset, stop))
        state: dict[str, torch.Tensor | None] = {
            key: values[..., index, start:stop] for key, values in self._state.items()
        }
        mask = state["attention_mask"]
        padded = any(row.first > start or row.gapped for row in rows)
        lean, masked = self._lean, padded or self._masks_pay
        found: torch.Tensor | None = None
        plain = not (prefill or options or any(row.exits or row.changes for row in rows))
        if not plain or stop != offset + 1 or not isinstance(index, slice):
            lean = None
        if lean is not None and mask is not None and lean.may_run():
            ids, positions = (self._state[key][index, offset:stop] for key in _READ)
            seen = mask[:, None, None].bool() if masked else None
            found = lean.logits(self.cache, ids, positions, seen)
            if (len(rows), masked) in lean.checked:
                self.forwards += 1
                for row in rows:
                    row.cached = stop
                return found, ModelOutput(logits=found[:, None])
        if not padded:
            state["attention_mask"] = None
        inputs = self.model.prepare_inputs_for_generation(
            state.pop("input_ids"),
            next_sequence_length=stop - offset,
            use_cache=True,
            is_first_iteration=prefill,
            **{CACHE: self.cache},
            **state,
            **self.constants,
            **(self._images(rows) if prefill else {}),
            **options,
        )
        ready = self._takes_masks if padded else self._masks_pay
        if mask is not None and ready and stop == offset + 1:
            # One token sees all that is no padding; transformers takes 0.5 ms to find that out.
            inputs["attention_mask"] = mask[:, None, None].bool()
        changes, firsts = [row.changes for row in rows], [row.first - start for row in rows]
        reads = stops or [self.head] * len(rows)
        exits = [row.exits for row in rows]
        spans = _spans(rows, begins, reads, offset) if any(exits) else ()
        with (
            changing(self.model, changes, firsts, unread=prefill),
            taking(self.model, exits, spans, last=stops is None) as passed,
        ):
            output = self.model(**inputs, return_dict=True)
        self.forwards += 1
        for row, read in zip(rows, reads, strict=True):
            row.cached = read
        logits = output.logits[:, -1].to(torch.float32, copy=True).to(self.model.device)
        if found is not None and lean is not None:
            lean.differs |= not torch.equal(found, logits)
            lean.checked.add((len(rows), masked))
        if passed is not None and not (stack := stack_of(self.model)).checked:
            stack.check(passed.states[stack.depth], logits)
        return logits, output

    def _fresh(self, begins: Sequence[int], offset: int, stop: int) -> torch.Tensor | None:
        """Which slots of the pass are new to each row; None where that is all or harmless."""
        if self.cache.rows == 0 or len(set(begins)) == 1 or stop - offset == 1:
            return None
        slots = torch.arange(offset, stop, device=self.model.device)
        known = torch.tensor(begins, device=self.model.device)
        return (slots >= known[:, None])[:, None, :, None]

    def _index(self, rows: Sequence[Row]) -> RowIndex:
        first, last = rows[0].index, rows[-1].index
        if last - first + 1 == len(rows):
            return slice(first, last + 1)
        return torch.tensor([row.index for row in rows], device=self.model.device)

    def _images(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What the prompts of these rows need beyond tokens: pixels or pre-encoded images."""
        prompts = dict.fromkeys(row.prompt for row in rows)
        parts = [encode_images(self.model, prompt.inputs) for prompt in prompts]
        joined = join(parts, self._pad_id)
        return {
            key: value
            for key, value in joined.items()
            if key not in _STATE and key not in self.constants
        }

    # Places

    @property
    def _live(self) -> slice:
        return slice(self._middle - len(self._bases), self._middle + len(self._others))

    def _number(self) -> None:
        for index, row in enumerate(self, start=self._live.start):
            row.index = index

    def _closed(self, rows: list[Row], gone: set[Row]) -> list[Row]:
        """Rows from the middle outwards, without some of them and without holes."""
        left = list(rows)
        for hole in [place for place, row in enumerate(left) if row in gone]:
            while left and left[-1] in gone:
                left.pop()
            if hole >= len(left):
                break
            last = left.pop()
            self._copy_row(last, left[hole].index)
            left[hole] = last
        return left

    def _copy_row(self, row: Row, target: int) -> None:
        if not row.unread:
            self.cache.copy_row(row.index, target, slice(row.first, row.cached))
        for values in self._state.values():
            values[..., target, :] = values[..., row.index, :]
        row.index = target

    def _copy(self, pairs: Sequence[tuple[Row, Row]], *, whole: bool) -> None:
        """Copy what is behind the prompt, or all, from the first to the second of each pair."""
        groups: dict[tuple[int, int], list[tuple[Row, Row]]] = {}
        for source, target in pairs:
            shared = not whole and target.cached >= source.end
            begin = source.end if shared else source.first
            if source.cached > begin:
                groups.setdefault((begin, source.cached), []).append((source, target))
            target.cached = max(source.cached, begin) if shared else source.cached
            target.gapped = source.gapped
            target.exits = source.exits.copied() if source.exits is not None else None
            if source.changes is not None:
                base = target.base.changes if target.base is not None else None
                target.changes = replace(source.changes, base=base)
        for (begin, end), group in groups.items():
            sources, targets = ([row.index for row in rows] for rows in zip(*group, strict=True))
            self.cache.copy_rows(sources, targets, slice(begin, end))
        sources, targets = ([row.index for row in rows] for rows in zip(*pairs, strict=True))
        for values in self._state.values():
            values[..., targets, :] = values[..., sources, :]

    def _make_room(self, longest: int, bases: int, others: int, room: int) -> None:
        """See that so many more rows and a prompt of so many positions fit."""
        if not len(self):
            self.head = longest + (_SPARE_LEFT if self.model.device.type == "cpu" else 0)
        shift = max(longest - self.head, 0)
        least = _LEAST_ROWS if self.model.device.type == "cpu" else 0
        left = len(self._bases) + bases
        right = len(self._others) + others
        middle = self._middle
        if left > middle:
            middle = max(left, room, least, 2 * middle if len(self) else 0)
        after = self.cache.rows - self._middle
        if right > after:
            after = max(right, room if others else 0, least, 2 * after if len(self) else 0)
        slots = self.cache.slots
        if self.head + shift >= slots:
            slots = self.head + shift + _SPARE_SLOTS
        if (middle, middle + after, slots, shift) != (
            self._middle,
            self.cache.rows,
            self.cache.slots,
            0,
        ):
            self._resize(middle, middle + after, slots, shift)

    def _make_slots(self) -> None:
        """Go on where the last slot was written: give unused slots up, or get more."""
        unused = min(row.first for row in self)
        if unused >= self.cache.slots // 2:
            self._resize(self._middle, self.cache.rows, self.cache.slots, -unused)
        else:
            more = max(_SPARE_SLOTS, self.cache.slots // 2)
            self._resize(self._middle, self.cache.rows, self.cache.slots + more, 0)

    def _resize(self, middle: int, rows: int, slots: int, shift: int) -> None:
        unused = max(-shift, 0)
        old, new = slice(unused, self.head), slice(unused + shift, self.head + shift)
        if not len(self):  # nothing is there yet, only where its end will be
            old = new = slice(0, 0)
        row_at = middle - self._middle
        self._state = {
            key: self._resized(values, rows, slots, row_at, old, new)
            for key, values in self._state.items()
        }
        self.cache.resize(rows, slots, row_at=row_at, old=old, new=new)
        self._middle = middle
        self.head += shift if len(self) else 0
        for row in self:
            row.shift(shift)
        self._number()

    def _resized(
        self, values: torch.Tensor, rows: int, slots: int, row_at: int, old: slice, new: slice
    ) -> torch.Tensor:
        grown = values.new_zeros((*values.shape[:-2], rows, slots))
        grown[..., row_at : row_at + values.shape[-2], new] = values[..., old]
        return grown

    # What is written

    def _prompt_state(self, prompt: Prompt) -> dict[str, torch.Tensor]:
        """Everything that a prompt has one value per token of, of shape (..., rows, tokens)."""
        inputs = {key: prompt.inputs.get(key) for key in TOKEN_ALIGNED}
        state = {key: values for key, values in inputs.items() if values is not None}
        if "attention_mask" not in state:
            state["attention_mask"] = torch.ones_like(state["input_ids"])
        state["position_ids"] = prompt_positions(self.model, prompt.inputs)
        return state

    def _image_positions(self, prompt: Prompt, place: int, length: int) -> torch.Tensor:
        """Where the image is in the last so many ids of a prompt."""
        slot = image_slot(self.model.config)
        return prompt_layout(prompt.inputs["input_ids"][place, -length:], slot).image_positions

    def _note_changes(self, row: Row) -> None:
        """See where things are in a prompt that something is changed in."""
        if row.prompt.edits is None:
            return
        ids = self._state["input_ids"][row.index, row.first : row.end]
        layout = prompt_layout(ids, image_slot(self.model.config))
        base = row.base.changes if row.base is not None else None
        row.changes = Changes(row.prompt.edits, layout, base)

    def _write_prompt(self, row: Row, state: Mapping[str, torch.Tensor]) -> None:
        for key in (*state, *(key for key in self._state if key not in state)):
            values = state.get(key)
            if key not in self._state:
                assert values is not None
                shape = (*values.shape[:-2], self.cache.rows, self.cache.slots)
                self._state[key] = values.new_zeros(shape)
            kept = self._state[key][..., row.index, :]
            kept.fill_(self._pad_id if key == "input_ids" else 0)
            if values is not None:
                kept[..., row.first : row.end] = values[..., row.place, row.first - row.end :]


@dataclass(frozen=True)
class PoolRows:
    """Some rows of a pool, all of them read, for their early exits; see `Cached`.

    Attributes:
        pool: The pool.
        rows: The rows.
    """

    pool: Pool
    rows: Sequence[Row]

    def attended(self, layer: int) -> Attended:
        """See `Cached.attended`."""
        return self.pool.attended(self.rows, layer)

    def texts(self) -> list[torch.Tensor]:
        """See `Cached.texts`."""
        return [self.pool.text(row) for row in self.rows]


def _spans(
    rows: Sequence[Row], begins: Sequence[int], stops: Sequence[int], offset: int
) -> list[Span]:
    """What a pass from a slot on reads of some rows."""
    return [
        Span(row.first - offset, range(begin - row.first, stop - row.first))
        for row, begin, stop in zip(rows, begins, stops, strict=True)
    ]


def constants_of(inputs: ModelInputs) -> dict[str, Any]:
    """The inputs of a prompt that belong to no row."""
    return {
        key: value
        for key, value in inputs.items()
        if key not in (*_STATE, *OWN_INPUTS)
        and value is not None
        and not isinstance(value, torch.Tensor | Mapping | list | tuple)
    }


def prompts_of(inputs: ModelInputs | Sequence[ModelInputs]) -> list[Prompt]:
    """One view's prompts; a single one where its tensors do not have a row for each of them.

    Args:
        inputs: The inputs of the whole batch, batch first, or of each sample.
    """
    if not isinstance(inputs, Mapping):
        return [Prompt(one) for one in inputs]
    rows = len(inputs["input_ids"])
    tensors = {key: value for key, value in inputs.items() if isinstance(value, torch.Tensor)}
    others = any(isinstance(value, Mapping | Sequence) and value for value in inputs.values())
    if others or not all(len(value) == rows for value in tensors.values()):
        return [Prompt(inputs)]
    return [
        Prompt({key: value[place : place + 1] for key, value in tensors.items()})
        for place in range(rows)
    ]


__all__ = ["Pool", "PoolRows", "Prompt", "Row", "constants_of", "prompts_of"]
