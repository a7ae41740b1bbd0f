"""Stage 2: a small Llama tokenizer (sentencepiece BPE) for the world's language.

Usage:
    python -m training.tokenizer
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from random import Random

import sentencepiece
from transformers import LlamaTokenizer

from secondsight.benchmarks.stickers.catalog import CATEGORIES
from secondsight.benchmarks.stickers.scene import make_scene

from . import wordings
from .dialogue import dialogues

BUNDLED = Path(__file__).parents[1] / "src/secondsight/checkpoints/bundled"
SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
PIECES = 1400
IMAGE_ID, PAD_ID = PIECES, PIECES + 1
VOCABULARY = PIECES + 2


def corpus(scenes: int = 6000) -> list[str]:
    """Lines of the world's language, and of common English around it."""
    lines = []
    for index in range(scenes):
        rng = Random(f"tokenizer/{index}")
        for dialogue in dialogues(make_scene("train", 10_000_000 + index), rng, 6):
            for question, answer in dialogue.turns:
                lines.append(f"USER: {question} ASSISTANT: {answer}")
    lines += [SYSTEM, SYSTEM.replace("human", "user")] * 200
    lines += [w for c in CATEGORIES for w in (c.name, c.plural)] * 100
    words = wordings.EXTRA_WORDS.split()
    lines += words * 60 + [word.capitalize() for word in words] * 6
    return lines


def train(target: Path = BUNDLED) -> None:
    """Writes tokenizer.model, its configuration and tokenizer.json into `target`.

    The last says the same as the first, and is read without sentencepiece and protobuf, whose
    versions other packages hold back.
    """
    target.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=(line.replace("\n", " ") for line in corpus()),
        model_writer=model,
        model_type="bpe",
        vocab_size=PIECES,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        add_dummy_prefix=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=2,
        minloglevel=2,
    )
    (target / "tokenizer.model").write_bytes(model.getvalue())
    special = {
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
        "special": True,
    }
    names = {0: "<unk>", 1: "<s>", 2: "</s>", IMAGE_ID: "<image>", PAD_ID: "<pad>"}
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": {str(i): {"content": name, **special} for i, name in names.items()},
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "legacy": True,
        "model_max_length": 1024,
        "pad_token": "<pad>",
        "padding_side": "left",
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
    }
    written = json.dumps(config, indent=2) + "\n"
    (target / "tokenizer_config.json").write_text(written)
    (target / "tokenizer.json").unlink(missing_ok=True)  # it would be read instead
    LlamaTokenizer.from_pretrained(target).save_pretrained(target)
    (target / "tokenizer_config.json").write_text(written)  # as it was: other programs read it too


if __name__ == "__main__":
    train()
