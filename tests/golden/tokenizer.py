"""A stand-in for Llama's tokenizer: the recorded prompts give the recorded ids, nothing else does.

Llama's own file is a third party's and is not committed. The recordings say which ids the prompts
became; `data/pieces.json` has the text of each. A byte-pair vocabulary of full size is built
around these pieces: any text can be encoded, and every id that is in no recorded prompt reads
``⟨id⟩`` when decoded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from sentencepiece import sentencepiece_model_pb2

_DATA: Final = Path(__file__).parent / "data"
_SIZE: Final = 32000
_SPACE: Final = "\N{LOWER ONE EIGHTH BLOCK}"
_BYTES: Final = range(3, 259)


def recorded_pieces() -> dict[int, str]:
    """The pieces of the recorded prompts, by id."""
    stored: dict[str, str] = json.loads((_DATA / "pieces.json").read_text())
    return {int(number): piece for number, piece in stored.items()}


def _vocabulary() -> tuple[dict[int, str], list[str]]:
    """Piece by id for all ids beyond the bytes, and the pieces of several letters by rank.

    A piece grows letter by letter from its beginning, so every beginning is a piece as well. What
    starts a word merges before what does not: a word is then read from its start as far as the
    recorded pieces go, and only its rest is put together from the others.
    """
    recorded = recorded_pieces()
    beginnings = {piece[:end] for piece in recorded.values() for end in range(2, len(piece) + 1)}
    ranked = sorted(beginnings, key=lambda piece: (not piece.startswith(_SPACE), len(piece), piece))
    letters = {letter for piece in recorded.values() for letter in piece}
    unplaced = [*sorted(letters | beginnings, key=lambda piece: (len(piece), piece))]
    pieces = dict(recorded)
    free = (number for number in range(_SIZE - 1, _BYTES.stop, -1) if number not in recorded)
    for piece in unplaced:
        if piece not in recorded.values():
            pieces[next(free)] = piece
    for number in range(_BYTES.stop, _SIZE):
        pieces.setdefault(number, f"{_SPACE}⟨{number}⟩")
    return pieces, ranked


def write_tokenizer(folder: Path) -> None:
    """Write ``tokenizer.model`` and its settings, as the released LLaVA-1.5 has them."""
    pieces, ranked = _vocabulary()
    scores = {piece: -float(rank) for rank, piece in enumerate(ranked)}
    model = sentencepiece_model_pb2.ModelProto()
    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    for text, kind in (("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)):
        model.pieces.add(piece=text, score=0.0, type=kind)
    for value in range(256):
        model.pieces.add(piece=f"<0x{value:02X}>", score=0.0, type=kinds.BYTE)
    for number in range(_BYTES.stop, _SIZE):
        score = scores.get(pieces[number], -float(len(ranked) + number))
        model.pieces.add(piece=pieces[number], score=score, type=kinds.NORMAL)
    trainer = model.trainer_spec
    trainer.model_type = sentencepiece_model_pb2.TrainerSpec.BPE
    trainer.vocab_size = _SIZE
    trainer.byte_fallback = True
    trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id = 0, 1, 2, -1
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": False,
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": None,
        "padding_side": "right",
        "model_max_length": 2048,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
