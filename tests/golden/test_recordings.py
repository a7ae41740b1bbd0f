"""The checkpoints made from the recipe are those of the recordings, which are complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaTokenizer

import secondsight
from golden import recordings
from golden.recipe import PRESETS
from golden.recordings import Run
from golden.tokenizer import recorded_pieces
from secondsight.prompts import IMAGE_TOKEN_INDEX, tokenize_with_images

GoldenModel = Callable[..., secondsight.Model]


def test_every_recorded_run_is_here() -> None:
    counts = {kind: len(recordings.runs(kind)) for kind in recordings.KINDS}
    assert counts == {"decoding": 32, "layer": 92, "attention": 114, "opera": 12}
    every = [run for kind in recordings.KINDS for run in recordings.runs(kind)]
    assert len({str(run) for run in every}) == len(every)
    assert {run.preset for run in every} == set(PRESETS)
    longer = {str(run): run.new_tokens for run in every if run.new_tokens != 24}
    assert Counter(longer.values()) == {40: 2, 32: 2}
    assert [run.setting for run in every if run.spec is None] == ["lcd-other"] * 4
    assert all(run.image_file.is_file() for run in every)


def test_the_recordings_stay_small() -> None:
    files = [path for path in recordings.DATA.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 4e6
    assert not [path for path in files if path.suffix in (".bin", ".model", ".safetensors")]


FIRST = {
    "deep": recordings.runs("layer", "deco", preset="deep")[0],
    "deep32": recordings.runs("layer", "deco", preset="deep32")[0],
    "views": recordings.runs("attention", "icd")[0],
    "tiny": recordings.runs("decoding", "vcd")[0],
}


@pytest.mark.parametrize("run", FIRST.values(), ids=FIRST)
def test_first_logits_are_the_recorded_ones(golden_model: GoldenModel, run: Run) -> None:
    model = golden_model(run.preset)
    inputs = model.encode(run.image_file, run.question)
    with run.features(model) if run.preset == "deep32" else nullcontext(), torch.no_grad():
        logits = model.hf_model(**inputs).logits[0, -1].numpy()
    top = run["top_ids"][0].astype(int)
    np.testing.assert_allclose(logits[top], run["base_top"][0], atol=2e-4)
    assert logits.argmax() == top[0]


def test_first_beams_are_the_recorded_ones(golden_model: GoldenModel) -> None:
    run = recordings.runs("opera", "opera")[0]
    model = golden_model(run.preset)
    with torch.no_grad():
        logits = model.hf_model(**model.encode(run.image_file, run.question)).logits[0, -1]
    best = logits.topk(5)
    assert best.indices.tolist() == run["cand_tokens"][0, 0].tolist()
    np.testing.assert_allclose(best.values, run["cand_logits"][0, 0], atol=2e-4)


def recorded_prompts() -> list[tuple[str, list[int]]]:
    meta = recordings.meta()
    plain = list(zip(meta["full_prompts"], meta["input_ids"], strict=True))
    return plain + [(one["prompt"], one["ids"]) for one in meta["disturbed"].values()]


def test_the_stand_in_tokenizer_gives_the_recorded_ids(golden_model: GoldenModel) -> None:
    tokenizer = golden_model().tokenizer
    for prompt, ids in recorded_prompts():
        assert tokenize_with_images(prompt, tokenizer) == ids
    assert tokenizer.decode([15690, 319, 5164]) == "⟨15690⟩ A ⟨5164⟩"
    assert len(tokenizer) == 32000


def test_llamas_own_tokenizer_gives_the_recorded_ids(llama_tokenizer: Path) -> None:
    tokenizer = LlamaTokenizer.from_pretrained(llama_tokenizer)
    for prompt, ids in recorded_prompts():
        assert tokenize_with_images(prompt, tokenizer) == ids
        beside = [number for number in ids if number != IMAGE_TOKEN_INDEX]
        stand_in = recorded_pieces()
        pieces = tokenizer.convert_ids_to_tokens(beside)
        for number, piece in zip(beside, pieces, strict=True):
            assert stand_in.get(number, piece) == piece
