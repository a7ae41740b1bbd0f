"""The model's rows: one per view and sample, all advanced through one cache.

Row ``view * samples + sample``. Prompts are padded to a common width, so token `t` of every row is
in the same slot, and a forward pass may be about any rows: the original view alone, all views, or
the few that have fallen behind.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from secondsight.decoding.cache import (
    CACHE,
    RowIndex,
    SlotCache,
    Window,
    masks_pay,
    takes_masks,
)
from secondsight.decoding.collate import TOKEN_ALIGNED, ModelInputs, insert_gap, join, pad_left
from secondsight.decoding.prefixes import KeysValues, Prefix, PrefixCache


@dataclass
class _Row:
    """How far one row has been read, and what is where.

    Attributes:
        first: Its first slot that is no padding.
        split: The slot from which on it is text for sure and may be read again: the end of what
            others may share, or of the prompt.
        end: The slot after its prompt.
        prefix: The beginning of its prompt that others may share.
        gapped: Whether there is padding within it.
        cached: The slot after the last one that the model has read; 0 when it has read nothing.
    """

    first: int
    split: int
    end: int
    prefix: Prefix | None
    gapped: bool
    cached: int = 0

    def shift(self, by: int) -> None:
        """Move all slots."""
        self.first, self.split, self.end = self.first + by, self.split + by, self.end + by
        self.cached = self.cached and self.cached + by


ViewInputs = ModelInputs | Sequence[ModelInputs]
"""The inputs of one view: of the whole batch, batch first, or of each sample."""

_ROW_STATE: Final = (*TOKEN_ALIGNED, "position_ids")


class Rows:
    """All rows of one generation, and how far each has been read by the model.

    Args:
        model: The model; its `prepare_inputs_for_generation` shapes every forward pass.
        views: The inputs of every view, the original first.
        constants: Inputs of every forward pass that belong to no row, such as ``logits_to_keep``.
        pad_id: The id written on padding.
        max_new_tokens: How many tokens may be added.
        prefixes: For each view and sample, the beginning of its prompt that others may share;
            only for views given sample by sample.
        kept: Prefixes of earlier generations.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        views: Sequence[ViewInputs],
        constants: Mapping[str, Any],
        *,
        pad_id: int,
        max_new_tokens: int,
        prefixes: Sequence[Sequence[Prefix | None]] = (),
        kept: PrefixCache | None = None,
    ) -> None:
        self.model = model
        self.views = len(views)
        self._constants = constants
        self._pad_id = pad_id
        first, *others = views  # the first is always read for everyone at once
        self._unread: list[dict[int, ModelInputs]] = [
            {WHOLE: first} if isinstance(first, Mapping) else _by_sample(first),
            *map(_by_sample, others),
        ]
        self.samples = max(map(_count, views))
        self._kept = kept
        shared = [prefix for of_view in prefixes for prefix in of_view]
        shared = shared or [None] * (self.views * self.samples)
        suffix = self._align(shared)
        groups = [
            next(iter(inputs.values())) if len(inputs) == 1 else join(list(inputs.values()), pad_id)
            for inputs in self._unread
        ]
        self.width = max(group["input_ids"].shape[1] for group in groups)
        self.length = self.width
        self._state = _row_state(model, groups, self.width, max_new_tokens, pad_id)
        mask = self._state["attention_mask"]
        firsts = (mask.cumsum(dim=-1) == 0).sum(dim=-1)
        gapped = (mask == 0).sum(dim=-1) > firsts
        self._rows = [
            _Row(first, self.width - suffix if prefix else self.width, self.width, prefix, gap)
            for first, prefix, gap in zip(firsts.tolist(), shared, gapped.tolist(), strict=True)
        ]
        text = model.config.get_text_config(decoder=True)
        self._takes_masks = takes_masks(text)
        self._masks_pay = self._takes_masks and masks_pay(text, model.device)
        self.cache = SlotCache(text, len(mask), self.width)
        self.forwards = 0

    def _align(self, prefixes: Sequence[Prefix | None]) -> int:
        """Put the ends of all prefixes into one slot; returns the width of what follows them."""
        ends = {
            row: self._inputs(row)["input_ids"].shape[1] - prefix.length
            for row, prefix in enumerate(prefixes)
            if prefix is not None
        }
        widest = max(ends.values(), default=0)
        for row, end in ends.items():
            view, sample = divmod(row, self.samples)
            prefix = prefixes[row]
            if prefix is not None and end < widest:
                inputs = self._unread[view][sample]
                self._unread[view][sample] = insert_gap(
                    inputs, prefix.length, widest - end, self._pad_id
                )
        return widest

    def _inputs(self, row: int) -> ModelInputs:
        view, sample = divmod(row, self.samples)
        return self._unread[view][sample]

    @property
    def divisible(self) -> bool:
        """Whether the views after the original can be read for some samples only."""
        return all(len(inputs) == self.samples for inputs in self._unread[1:])

    def append(self, tokens: torch.Tensor) -> None:
        """Add one chosen token to every sample, in all its views.

        Args:
            tokens: int64 of shape (samples,).
        """
        self._state["input_ids"][:, self.length] = tokens.repeat(self.views)
        self.length += 1

    def behind(self, rows: Sequence[int]) -> int:
        """How many slots the model has yet to read for the row that is furthest behind."""
        return max(self.length - self._rows[row].cached for row in rows)

    def unread(self, row: int) -> bool:
        """Whether the model has read nothing of the row."""
        return self._rows[row].cached == 0

    def rows_of(self, views: Sequence[int], samples: Sequence[int]) -> list[int]:
        """The numbers of the rows of some views of some samples, view by view."""
        return [view * self.samples + sample for view in views for sample in samples]

    def advance(self, rows: Sequence[int], **options: Any) -> tuple[torch.Tensor, ModelOutput]:
        """Let the model read everything that these rows hold.

        Args:
            rows: The rows, in ascending order.
            **options: Passed to the forward pass, such as ``output_attentions``.

        Returns:
            The logits that follow the last token, float32 of shape (rows, vocabulary), and the
            model's output of the last forward pass that was made.
        """
        if not options:  # which are about whole prompts
            self._share([row for row in rows if self.unread(row)])
        late = [row for row in rows if self.unread(row)]
        for end, group in self._grouped(late, "end"):
            if self._wrote_slot(group, end):
                self._forward(group, end, {})
        logits: list[torch.Tensor] = []
        passes = self._passes(rows)
        for group in passes:
            found, output = self._forward(group, self.length, options)
            logits.append(found)
        for row in late:
            self._keep_prefix(row)
        if len(passes) == 1:
            return logits[0], output
        place = {row: index for index, row in enumerate(itertools.chain(*passes))}
        order = torch.tensor([place[row] for row in rows], device=logits[0].device)
        return torch.cat(logits).index_select(0, order), output

    def _passes(self, rows: Sequence[int]) -> list[list[int]]:
        """The rows that can be read together.

        A pass begins where the row that is furthest behind does, and the others read again what
        they know; but an image's slots are filled in the first reading only.
        """
        passes: list[list[int]] = []
        split = 0
        known = [row for row in rows if not self.unread(row)]
        for row in sorted(known, key=lambda row: -self._rows[row].cached):
            state = self._rows[row]
            if passes and state.cached >= split:
                passes[-1].append(row)
                split = max(split, state.split)
            else:
                passes.append([row])
                split = state.split
        unread = [row for row in rows if self.unread(row)]
        return [*map(sorted, passes), *([unread] if unread else [])]

    def _grouped(self, rows: Sequence[int], slot: str) -> list[tuple[int, list[int]]]:
        """Rows by their `end` or `split`: one group, unless generations were joined."""
        groups: dict[int, list[int]] = {}
        for row in rows:
            groups.setdefault(getattr(self._rows[row], slot), []).append(row)
        return list(groups.items())

    def _wrote_slot(self, rows: Sequence[int], end: int) -> bool:
        """Whether an answer holds the id of an image slot, which a prompt's pass would fill."""
        slot = getattr(self.model.config, "image_token_id", None)
        if slot is None or self.length == end:
            return False
        written = self._state["input_ids"][list(rows), end : self.length]
        return bool((written == slot).any())

    def _share(self, rows: Sequence[int]) -> None:
        """Copy prefixes that are kept, or that another of these rows reads, instead of reading."""
        alike: dict[Prefix, list[int]] = {}
        for row in rows:
            prefix = self._rows[row].prefix
            if prefix is not None:
                alike.setdefault(prefix, []).append(row)
        led: dict[int, list[int]] = {}
        for prefix, sharing in alike.items():
            known = self._kept.get(prefix.key) if self._kept is not None else None
            if known is not None:
                self._copy_prefix(sharing, known)
            elif len(sharing) > 1:
                led[sharing[0]] = sharing[1:]
        for split, leaders in self._grouped(list(led), "split"):
            self._forward(leaders, split, {})
        for leader, followers in led.items():
            self._copy_prefix(followers, self._prefix_of(leader))
            self._keep_prefix(leader)

    def _copy_prefix(self, rows: Sequence[int], prefix: KeysValues) -> None:
        for row in rows:
            view, sample = divmod(row, self.samples)
            self.cache.copy_in(row, self._slots(row), prefix)
            self._unread[view].pop(sample)
            self._rows[row].cached = self._rows[row].split

    def _prefix_of(self, row: int) -> KeysValues:
        return self.cache.copy_out(row, self._slots(row))

    def _slots(self, row: int) -> slice:
        """Where the beginning is that a row shares."""
        state = self._rows[row]
        length = state.prefix.length if state.prefix else 0
        return slice(state.split - length, state.split)

    def _keep_prefix(self, row: int) -> None:
        prefix = self._rows[row].prefix
        if prefix is not None and self._kept is not None and prefix.key not in self._kept:
            self._kept.put(prefix.key, self._prefix_of(row))

    def _forward(
        self, rows: Sequence[int], stop: int, options: Mapping[str, Any]
    ) -> tuple[torch.Tensor, ModelOutput]:
        """Read the slots of some rows up to one; either all of the rows are unread or none is."""
        prefill = self.unread(rows[0])
        start = min(self._rows[row].first for row in rows)
        offset = start if prefill else min(self._rows[row].cached for row in rows)
        index = self._index(rows)
        self.cache.focus(Window(index, start, offset, stop))
        state: dict[str, torch.Tensor | None] = {
            key: values[..., index, start:stop] for key, values in self._state.items()
        }
        mask = state["attention_mask"]
        padded = any(self._rows[row].first > start or self._rows[row].gapped for row in rows)
        if not padded:
            state["attention_mask"] = None
        inputs = self.model.prepare_inputs_for_generation(
            state.pop("input_ids"),
            next_sequence_length=stop - offset,
            use_cache=True,
            is_first_iteration=prefill,
            **{CACHE: self.cache},
            **state,
            **self._constants,
            **(self._images(rows) if prefill else {}),
            **options,
        )
        ready = self._takes_masks if padded else self._masks_pay
        if mask is not None and ready and stop == offset + 1:
            # One token sees all that is no padding; transformers takes 0.5 ms to find that out.
            inputs["attention_mask"] = mask[:, None, None].bool()
        output = self.model(**inputs, return_dict=True)
        self.forwards += 1
        for row in rows:
            self._rows[row].cached = stop
        logits = output.logits[:, -1].to(torch.float32, copy=True)
        return logits.to(self._state["input_ids"].device), output

    def _index(self, rows: Sequence[int]) -> RowIndex:
        first, last = rows[0], rows[-1]
        if last - first + 1 == len(rows):
            return slice(first, last + 1)
        return torch.tensor(rows, device=self._state["input_ids"].device)

    def _images(self, rows: Sequence[int]) -> dict[str, Any]:
        """What the prompts of these rows need beyond tokens: pixels or pre-encoded images."""
        parts: list[ModelInputs] = []
        for view, unread in enumerate(self._unread):
            mine = [row % self.samples for row in rows if row // self.samples == view]
            keys = [key for key in unread if key in mine or (key == WHOLE and mine)]
            if keys:
                read = join([unread.pop(key) for key in keys], self._pad_id)
                parts.append(encode_images(self.model, read))
        joined = join(parts, self._pad_id)
        return {
            key: value
            for key, value in joined.items()
            if key not in _ROW_STATE and key not in self._constants
        }

    def keep(self, samples: Sequence[int]) -> None:
        """Drop all samples but these, unless that would be all of them."""
        if len(samples) in (0, self.samples):
            return
        rows = self.rows_of(range(self.views), samples)
        index = torch.tensor(rows, device=self._state["input_ids"].device)
        self._state = {
            key: values.index_select(-2, index.to(values.device))
            for key, values in self._state.items()
        }
        self._unread = [
            {place: inputs[old] for place, old in enumerate(samples) if old in inputs}
            for inputs in self._unread
        ]
        self._rows = [self._rows[row] for row in rows]
        self.samples = len(samples)
        self.cache.keep(index)

    def join(self, other: Rows) -> None:
        """Take in the samples of a generation that has read nothing yet, behind these.

        All rows are shifted so that their last slots coincide, and slots to the left of the
        longest row, which nobody uses any more, are given up.

        Args:
            other: The same model's rows with as many views, given sample by sample.
        """
        here, there, views = self.samples, other.samples, range(self.views)
        unused = min(row.first for row in self._rows)
        length = max(self.length - unused, other.width)
        old = slice(unused, self.length)
        new = slice(unused + length - self.length, length)
        places = [view * (here + there) + sample for view in views for sample in range(here)]
        self.cache.move(places, len(views) * (here + there), old, new)
        ahead = max(self._ahead, other._ahead)
        mine, theirs = (rows._moved_state(length, ahead) for rows in (self, other))
        none = torch.zeros_like(mine["input_ids"]), torch.zeros_like(theirs["input_ids"])
        self._state = {
            key: self._by_view(mine.get(key, none[0]), theirs.get(key, none[1]))
            for key in {**mine, **theirs}
        }
        for rows in (self, other):
            for row in rows._rows:
                row.shift(length - rows.length)
        self._rows = [
            row
            for view in views
            for rows in (self, other)
            for row in rows._rows[view * rows.samples : (view + 1) * rows.samples]
        ]
        for inputs, added in zip(self._unread, other._unread, strict=True):
            inputs.update({here + sample: one for sample, one in added.items()})
            added.clear()
        self.samples, self.length = here + there, length

    @property
    def _ahead(self) -> int:
        """How many more tokens there is room for."""
        return int(self._state["input_ids"].shape[-1]) - self.length

    def _moved_state(self, length: int, ahead: int) -> dict[str, torch.Tensor]:
        """The state with its last slot moved, and with room for more tokens."""
        pads = (length - self.length, ahead - self._ahead)
        return {key: F.pad(values, pads) for key, values in self._state.items()}

    def _by_view(self, *values: torch.Tensor) -> torch.Tensor:
        """Join values of shape (..., rows, slots), view by view."""
        split = [value.unflatten(-2, (self.views, -1)) for value in values]
        return torch.cat(split, dim=-2).flatten(-3, -2)


WHOLE: Final = -1
"""Stands for all samples, where a view's inputs cannot be told apart by sample."""


def _count(view: ViewInputs) -> int:
    return len(view["input_ids"]) if isinstance(view, Mapping) else len(view)


def _by_sample(view: ViewInputs) -> dict[int, ModelInputs]:
    """A view's inputs by sample; in one piece where its tensors do not have a row per sample."""
    if not isinstance(view, Mapping):
        return dict(enumerate(view))
    rows = len(view["input_ids"])
    tensors = {key: value for key, value in view.items() if isinstance(value, torch.Tensor)}
    others = any(isinstance(value, Mapping | Sequence) and value for value in view.values())
    if others or not all(len(value) == rows for value in tensors.values()):
        return {0 if rows == 1 else WHOLE: view}
    return {
        sample: {key: value[sample : sample + 1] for key, value in tensors.items()}
        for sample in range(rows)
    }


def encode_images(model: PreTrainedModel, group: ModelInputs) -> dict[str, Any]:
    """Replace pixels by their features where `generate` does so for the original view.

    Newer models take pre-encoded images (``mm_encoder_outputs``); views must come in the same
    form to share a forward pass with the original.
    """
    supports = getattr(model, "_supports_mm_encoder_outputs", None)
    if supports is None or not supports() or group.get("mm_encoder_outputs"):
        return dict(group)
    encoded = model._prepare_multimodal_encoder_kwargs_for_generation(dict(group))
    return dict(encoded)


def constants_of(group: ModelInputs) -> dict[str, Any]:
    """The inputs of a view that belong to no row."""
    return {
        key: value
        for key, value in group.items()
        if key not in _ROW_STATE
        and value is not None
        and not isinstance(value, torch.Tensor | Mapping | list | tuple)
    }


def _row_state(
    model: PreTrainedModel,
    groups: Sequence[ModelInputs],
    width: int,
    max_new_tokens: int,
    pad_id: int,
) -> dict[str, torch.Tensor]:
    """Everything with one value per token, of shape (..., rows, width + max_new_tokens)."""
    tokens = [{key: group.get(key) for key in TOKEN_ALIGNED} for group in groups]
    joined = join(tokens, pad_id)
    state = {}
    for key, values in joined.items():
        if key == "attention_mask":
            tail = values.new_ones((values.shape[0], max_new_tokens))
        elif key == "token_type_ids":
            tail = next_token_types(model, values).expand(-1, max_new_tokens)
        else:
            tail = values.new_zeros((values.shape[0], max_new_tokens))
        state[key] = torch.cat([values, tail], dim=-1)
    positions = [_positions(model, group) for group in groups]
    prompt = torch.cat([pad_left(position, width, 0) for position in positions], dim=-2)
    ahead = torch.arange(1, max_new_tokens + 1, device=prompt.device)
    state["position_ids"] = torch.cat([prompt, prompt[..., -1:] + ahead], dim=-1)
    return state


def next_token_types(model: PreTrainedModel, prompt: torch.Tensor) -> torch.Tensor:
    """The token type of a generated token; not every family repeats the prompt's last one."""
    kwargs = {"token_type_ids": prompt}
    kwargs = model._update_model_kwargs_for_generation(ModelOutput(), kwargs)
    return kwargs["token_type_ids"][:, -1:]


def _positions(model: PreTrainedModel, group: ModelInputs) -> torch.Tensor:
    """Position ids of a view's prompts, of shape (..., samples, tokens)."""
    positions = group.get("position_ids")
    ids = group["input_ids"]
    if positions is None:
        positions = model._prepare_position_ids_for_generation(ids, dict(group))
    return positions.expand(*positions.shape[:-2], ids.shape[0], -1)
