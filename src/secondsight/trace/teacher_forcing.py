"""Teacher forcing: the finished answer through the model once per view, with everything shown.

One forward pass over prompt and answer together gives what the loop saw token by token, for all
tokens at once: attention, hidden states, probabilities. It comes after the answer is written, so
it cannot change a token, and each layer is summarised as it passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from secondsight.decoding.changes import Changes, changing
from secondsight.decoding.collate import TOKEN_ALIGNED
from secondsight.decoding.transformers5 import next_token_types
from secondsight.trace.attention import AttentionCollector, attention_shown
from secondsight.trace.keep import Keeper
from secondsight.trace.lens import Lens
from secondsight.trace.modules import language_layers


class TeacherForcedPass:
    """One forward pass over a prompt and the answer that was written.

    Args:
        model: The transformers model.
        tokens: The answer's tokens as generated.
    """

    def __init__(self, model: Any, tokens: Sequence[int]) -> None:
        self._model = model
        self._tokens = list(tokens)
        self._decoder = model.get_decoder()
        self.layers = language_layers(model)

    def rows(self, inputs: Mapping[str, Any]) -> slice:
        """The positions that predict the answer's tokens."""
        first = int(inputs["input_ids"].shape[1]) - 1
        return slice(first, first + len(self._tokens))

    @torch.inference_mode()
    def run(
        self,
        inputs: Mapping[str, Any],
        *,
        changes: Changes | None = None,
        attention: AttentionCollector | None = None,
        lens: Lens | None = None,
        hidden: tuple[str, Keeper] | None = None,
    ) -> list[float]:
        """Run over one view's prompt and the answer.

        Args:
            inputs: The view's inputs, on the model's device.
            changes: What the view changed inside the model while the answer was written.
            attention: Gets every layer's attention.
            lens: Gets every layer's hidden states.
            hidden: A name and a keeper, to keep hidden states whole.

        Returns:
            The log-probability of each of the answer's tokens.
        """
        with ExitStack() as stack:
            if attention is not None:
                stack.enter_context(attention_shown(self._decoder))
                stack.enter_context(self._watching_attention(attention))
            if lens is not None or hidden is not None:
                stack.enter_context(self._watching_layers(lens, hidden))
            own = None if changes is None else replace(changes, found={})
            stack.enter_context(changing(self._model, [own], [0], unread=True))
            output = self._model(
                **self._continued(inputs),
                use_cache=False,
                logits_to_keep=len(self._tokens),
                return_dict=True,
            )
        logits = output.logits[0, -len(self._tokens) :].float()
        tokens = torch.tensor(self._tokens, device=logits.device)
        found = logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)
        return list(found.tolist())

    def _continued(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """A view's inputs with all tokens but the last, whose successor nobody asks for."""
        continued = dict(inputs)
        ids = inputs["input_ids"]
        answer = torch.tensor([self._tokens[:-1]], dtype=ids.dtype, device=ids.device)
        for key in TOKEN_ALIGNED:
            if inputs.get(key) is not None:
                fill = {"input_ids": answer, "attention_mask": torch.ones_like(answer)}
                tail = fill.get(key, torch.zeros_like(answer))
                if key == "token_type_ids":
                    tail = next_token_types(self._model, inputs[key]).expand_as(answer)
                continued[key] = torch.cat([inputs[key], tail], dim=-1)
        return continued

    @contextmanager
    def _watching_attention(self, collector: AttentionCollector) -> Iterator[None]:
        def hook(layer: int) -> Any:
            def after(module: nn.Module, args: Any, output: Any) -> None:
                if isinstance(output, tuple) and len(output) > 1 and output[1] is not None:
                    collector.add(layer, output[1])

            return after

        attentions = self.layers.attentions if self.layers is not None else {}
        handles = [
            attention.register_forward_hook(hook(number))
            for number, attention in attentions.items()
        ]
        with removing(handles):
            yield

    @contextmanager
    def _watching_layers(
        self, lens: Lens | None, hidden: tuple[str, Keeper] | None
    ) -> Iterator[None]:
        def note(number: int, states: torch.Tensor) -> None:
            if lens is not None:
                lens.add(states)
            if hidden is not None:
                hidden[1].keep(f"hidden.{hidden[0]}.{number}", states)

        def before(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            note(0, args[0] if args else kwargs["hidden_states"])

        def after(number: int) -> Any:
            def hook(module: nn.Module, args: Any, output: Any) -> None:
                note(number, output[0] if isinstance(output, tuple) else output)

            return hook

        layers = self.layers.modules if self.layers is not None else ()
        handles: list[Any] = [
            layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers[:1]
        ]
        handles += [
            layer.register_forward_hook(after(number)) for number, layer in enumerate(layers, 1)
        ]
        with removing(handles):
            yield


@contextmanager
def removing(handles: Sequence[Any]) -> Iterator[None]:
    """Take hooks off at the end, whatever happens."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
