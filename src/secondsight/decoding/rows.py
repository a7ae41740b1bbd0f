"""The model's rows: one per view and sample, all advanced through one cache.

Row ``view * samples + sample``. Prompts are padded on the left to a common width, so token `t` of
every row is in the same slot, and a forward pass may be about any rows: the original view alone,
all views, or the few that have fallen behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from secondsight.decoding.cache import RowIndex, SlotCache, Window
from secondsight.decoding.collate import TOKEN_ALIGNED, ModelInputs, join, pad_left

_ROW_STATE = (*TOKEN_ALIGNED, "position_ids")


class Rows:
    """All rows of one generation, and how far each has been read by the model.

    Args:
        model: The model; its `prepare_inputs_for_generation` shapes every forward pass.
        original: The original view's inputs as `generate` prepared them, batch first.
        views: The other views' inputs: of the whole batch, or of each sample.
        pad_id: The id written on padding.
        max_new_tokens: How many tokens may be added.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        original: ModelInputs,
        views: Sequence[ModelInputs | Sequence[ModelInputs]],
        *,
        pad_id: int,
        max_new_tokens: int,
    ) -> None:
        self.model = model
        self.views = 1 + len(views)
        self.samples = original["input_ids"].shape[0]
        self.forwards = 0
        self._pad_id = pad_id
        self._constants = _constants(original)
        groups = [
            original,
            *(view if isinstance(view, Mapping) else join(view, pad_id) for view in views),
        ]
        self._unread: list[dict[int, ModelInputs]] = [
            {0: original},
            *(_by_sample(view, self.samples) for view in views),
        ]
        self.divisible = all(len(inputs) == self.samples for inputs in self._unread[1:])
        self.width = max(group["input_ids"].shape[1] for group in groups)
        self._lengths = [group["input_ids"].shape[1] for group in groups]
        self.length = self.width
        self._state = _row_state(model, groups, self.width, max_new_tokens, pad_id)
        total = self.views * self.samples
        self._cached = [0] * total
        self._has_padding = bool((self._state["attention_mask"] == 0).any())
        self.cache = SlotCache(model.config.get_text_config(decoder=True), total, self.width)

    def append(self, tokens: torch.Tensor) -> None:
        """Add one chosen token to every sample, in all its views.

        Args:
            tokens: int64 of shape (samples,).
        """
        self._state["input_ids"][:, self.length] = tokens.repeat(self.views)
        self.length += 1

    def behind(self, rows: Sequence[int]) -> int:
        """How many tokens the model has yet to read for the row that is furthest behind."""
        return max(self.length - self._cached[row] for row in rows)

    def unread(self, row: int) -> bool:
        """Whether the model has not even read the row's prompt."""
        return self._cached[row] == 0

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
        new = [row for row in rows if self.unread(row)]
        known = [row for row in rows if not self.unread(row)]
        if not known or not new:
            return self._forward(rows, prefill=bool(new), options=options)
        logits_known, _ = self._forward(known, prefill=False, options=options)
        logits_new, output = self._forward(new, prefill=True, options=options)
        place = {row: index for index, row in enumerate(known + new)}
        order = torch.tensor([place[row] for row in rows], device=logits_new.device)
        return torch.cat([logits_known, logits_new]).index_select(0, order), output

    def _forward(
        self, rows: Sequence[int], *, prefill: bool, options: Mapping[str, Any]
    ) -> tuple[torch.Tensor, ModelOutput]:
        start = min(self.width - self._lengths[row // self.samples] for row in rows)
        offset = start if prefill else min(self._cached[row] for row in rows)
        index = self._index(rows)
        self.cache.focus(Window(index, start, offset, self.length))
        state: dict[str, torch.Tensor | None] = {
            key: values[..., index, start : self.length] for key, values in self._state.items()
        }
        if not self._has_padding:
            state["attention_mask"] = None
        extra = {**self._constants, **(self._images(rows) if prefill else {})}
        inputs = self.model.prepare_inputs_for_generation(
            state.pop("input_ids"),
            next_sequence_length=self.length - offset,
            past_key_values=self.cache,
            use_cache=True,
            is_first_iteration=prefill,
            **state,
            **extra,
            **options,
        )
        output = self.model(**inputs, return_dict=True)
        self.forwards += 1
        for row in rows:
            self._cached[row] = self.length
        logits = output.logits[:, -1].to(torch.float32, copy=True)
        return logits.to(self._state["input_ids"].device), output

    def _index(self, rows: Sequence[int]) -> RowIndex:
        first, last = rows[0], rows[-1]
        if last - first + 1 == len(rows):
            return slice(first, last + 1)
        return torch.tensor(rows, device=self._state["input_ids"].device)

    def _images(self, rows: Sequence[int]) -> dict[str, Any]:
        """What the prompts of these rows need beyond tokens: pixels or pre-encoded images."""
        wanted: dict[int, list[int]] = {}
        for row in rows:
            wanted.setdefault(row // self.samples, []).append(row % self.samples)
        parts: list[ModelInputs] = []
        for view, samples in wanted.items():
            inputs = self._unread[view]
            whole = len(inputs) == 1
            read = [inputs.pop(0)] if whole else [inputs.pop(sample) for sample in samples]
            parts.append(encode_images(self.model, join(read, self._pad_id)))
        joined = join(parts, self._pad_id)
        return {key: value for key, value in joined.items() if key not in _ROW_STATE}

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
        self._cached = [self._cached[row] for row in rows]
        self.samples = len(samples)
        self.cache.keep(index)


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


def _constants(group: ModelInputs) -> dict[str, Any]:
    """Inputs that belong to no row, such as ``logits_to_keep``."""
    return {
        key: value
        for key, value in group.items()
        if key not in _ROW_STATE and not isinstance(value, torch.Tensor | Mapping | list | tuple)
    }


def _by_sample(view: ModelInputs | Sequence[ModelInputs], samples: int) -> dict[int, ModelInputs]:
    """A view's inputs by sample; in one piece where its tensors do not have a row per sample."""
    if not isinstance(view, Mapping):
        return dict(enumerate(view))
    tensors = [value for value in view.values() if value is not None]
    if samples == 1 or not all(
        isinstance(value, torch.Tensor) and len(value) == samples for value in tensors
    ):
        return {0: view}
    return {
        sample: {
            key: value[sample : sample + 1] for key, value in view.items() if value is not None
        }
        for sample in range(samples)
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
            tail = values[:, -1:].expand(-1, max_new_tokens)
        else:
            tail = values.new_zeros((values.shape[0], max_new_tokens))
        state[key] = torch.cat([values, tail], dim=-1)
    positions = [_positions(model, group) for group in groups]
    if all(position is not None for position in positions):
        prompt = torch.cat([pad_left(position, width, 0) for position in positions], dim=-2)
        ahead = torch.arange(1, max_new_tokens + 1, device=prompt.device)
        state["position_ids"] = torch.cat([prompt, prompt[..., -1:] + ahead], dim=-1)
    return state


def _positions(model: PreTrainedModel, group: ModelInputs) -> torch.Tensor:
    """Position ids of a view's prompts, of shape (..., samples, tokens)."""
    positions = group.get("position_ids")
    ids = group["input_ids"]
    if positions is None:
        positions = model._prepare_position_ids_for_generation(ids, dict(group))
    return positions.expand(*positions.shape[:-2], ids.shape[0], -1)
