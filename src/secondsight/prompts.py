"""Prompts: conversation templates, image slots, and their token ids.

A prompt is a sequence of parts: text, image slots, and ends of a turn. Text never turns into a
slot or a special token, whatever a user writes in it; only the template makes those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from secondsight.errors import QuestionError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IMAGE_TOKEN: Final = "<image>"
"""How an image slot is written in a prompt's text form."""

IMAGE_TOKEN_INDEX: Final = -200
"""The id that stands for an image slot, as in the original LLaVA code."""


class Mark(Enum):
    """A part of a prompt that is not text."""

    IMAGE = IMAGE_TOKEN
    END = "</s>"


Part = str | Mark


@dataclass(frozen=True)
class Prompt:
    """A prompt as parts, so that text can never be mistaken for a slot or a special token."""

    parts: tuple[Part, ...]

    @classmethod
    def parse(cls, text: str) -> Prompt:
        """Read a prompt from its text form, in which every ``<image>`` is an image slot."""
        parts: list[Part] = []
        for index, chunk in enumerate(text.split(IMAGE_TOKEN)):
            if index:
                parts.append(Mark.IMAGE)
            if chunk:
                parts.append(chunk)
        return cls(tuple(parts))

    def __str__(self) -> str:
        return "".join(part if isinstance(part, str) else part.value for part in self.parts)

    @property
    def image_slots(self) -> int:
        """Number of image slots."""
        return sum(part is Mark.IMAGE for part in self.parts)


@dataclass(frozen=True)
class Turn:
    """One exchange of a conversation.

    Attributes:
        question: What the user says.
        answer: What the model said; None for the turn that it is to answer.
    """

    question: str
    answer: str | None = None


@dataclass(frozen=True)
class ConversationTemplate:
    """How turns become a prompt.

    Attributes:
        name: The template's name.
        system: Text before the first turn, without a separator; empty for none.
        user: Written before a question.
        assistant: Written before an answer; the prompt ends with it.
        separator: Written between the system text, a question and an answer.
        ends_turn: Whether an answer is followed by the end-of-sequence token.
        stop: The string at which an answer ends, as the original code names it.
    """

    name: str
    system: str
    user: str
    assistant: str
    separator: str
    ends_turn: bool
    stop: str

    def render(
        self,
        turns: Sequence[Turn],
        *,
        images: int | Sequence[int] = 1,
        system: str | None = None,
    ) -> Prompt:
        """Write a conversation whose questions carry the image slots.

        Args:
            turns: The exchanges so far; the last one without an answer.
            images: Number of image slots put before the first question, or before each, each
                slot followed by a newline.
            system: The text before the first turn; the template's own where None.

        Returns:
            The prompt, up to where the answer starts. Text on either side of a slot stays apart.
        """
        parts: list[Part] = []
        before = self.system if system is None else system
        text = before + self.separator if before else ""
        slots = dict(enumerate([images] if isinstance(images, int) else images))
        for index, turn in enumerate(turns):
            text += self.user
            for _ in range(slots.get(index, 0)):
                parts += [text, Mark.IMAGE] if text else [Mark.IMAGE]
                text = "\n"
            text += turn.question + self.separator + self.assistant
            if turn.answer is not None:
                text += " " + turn.answer if self.assistant else turn.answer
                if self.ends_turn:
                    parts += [text, Mark.END]
                    text = ""
                else:
                    text += self.separator
        return Prompt((*parts, text) if text else tuple(parts))


_VICUNA_SYSTEM = (
    "A chat between a curious {who} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {who}'s questions."
)


def _vicuna(name: str, who: str) -> ConversationTemplate:
    return ConversationTemplate(
        name=name,
        system=_VICUNA_SYSTEM.format(who=who),
        user="USER: ",
        assistant="ASSISTANT:",
        separator=" ",
        ends_turn=True,
        stop="</s>",
    )


TEMPLATES: Final[dict[str, ConversationTemplate]] = {
    template.name: template
    for template in (
        _vicuna("vicuna_v1", "user"),
        _vicuna("llava_v1", "human"),
        ConversationTemplate(
            name="plain",
            system="",
            user="",
            assistant="",
            separator="\n",
            ends_turn=False,
            stop="\n",
        ),
    )
}
"""The conversation templates of the LLaVA-1.5 code by name; ``llava_v1`` is the seed's."""


def template(name: str) -> ConversationTemplate:
    """Look a conversation template up.

    Raises:
        QuestionError: No template has that name.
    """
    try:
        return TEMPLATES[name]
    except KeyError:
        raise QuestionError(
            f"No conversation template is called {name!r}.{nearest(name, TEMPLATES)}"
        ) from None


def tokenize_with_images(prompt: str | Prompt, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of a prompt, with -200 for every image slot (LLaVA's ``tokenizer_image_token``).

    The text on either side of a slot is tokenised on its own, so each piece gets the
    tokenizer's own beginning (Llama's 29871); the beginning-of-sequence id is written once.

    Args:
        prompt: The prompt; in a plain string every ``<image>`` is a slot and all else is text.
        tokenizer: A sentencepiece-style tokenizer, such as ``LlamaTokenizer``.

    Returns:
        The ids, ``IMAGE_TOKEN_INDEX`` standing for each slot.
    """
    if isinstance(prompt, str):
        prompt = Prompt.parse(prompt)
    ids: list[int] = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    for part in prompt.parts:
        if part is Mark.IMAGE:
            ids.append(IMAGE_TOKEN_INDEX)
        elif part is Mark.END:
            ids.append(tokenizer.eos_token_id)
        else:
            ids += _text_ids(part, tokenizer)
    return ids


def _text_ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of text in which nothing is read as an added token, special or not."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    added = tokenizer.added_tokens_decoder
    named = next((added[token].content for token in ids if token in added), None)
    if named is None or len(named) < 2 or named not in text:
        return ids
    cut = text.index(named) + 1  # inside the name, so that neither half holds it
    return _text_ids(text[:cut], tokenizer) + _text_ids(text[cut:], tokenizer)
