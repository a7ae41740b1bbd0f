"""A tiny random LLaVA in Hugging Face's layout, made on the spot."""

from __future__ import annotations

import io
import json
from pathlib import Path

import sentencepiece
import torch
from transformers import (
    AddedToken,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

CORPUS = """
A chat between a curious human and an artificial intelligence assistant.
The assistant gives helpful, detailed, and polite answers to the human's questions.
USER: Please describe this image in detail. ASSISTANT: There is a red cat on the table.
USER: Is there a dog in the image? ASSISTANT: Yes. No. What colour is the small bicycle?
How many people are there? Two people ride a bus. The sky is blue and the grass is green.
"""

PIECES = 400
IMAGE_ID, PAD_ID = PIECES, PIECES + 1


def _tokenizer(folder: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(CORPUS.strip().splitlines() * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=PIECES,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    )
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken("<image>", special=True, normalized=False)])
    tokenizer.add_special_tokens({"pad_token": AddedToken("<pad>", special=True, normalized=False)})
    assert tokenizer.convert_tokens_to_ids(["<image>", "<pad>"]) == [IMAGE_ID, PAD_ID]
    tokenizer.save_pretrained(folder)


def _network(*, image: int, kv_heads: int) -> LlavaForConditionalGeneration:
    """Random weights, so scaled that one token is plausible in about half of the steps."""
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=image,
            patch_size=14,
            projection_dim=32,
        ),
        text_config=LlamaConfig(
            vocab_size=PIECES + 2,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=kv_heads,
            max_position_embeddings=512,
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=PAD_ID,
        ),
        image_token_index=IMAGE_ID,
        image_seq_length=(image // 14) ** 2,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    generator = torch.Generator().manual_seed(7)
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                continue
            scale = 1.3 if "lm_head" in name else 0.18
            weights.copy_(torch.randn(weights.shape, generator=generator) * scale)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=PAD_ID)
    return model.eval()


def write_tiny(folder: Path, *, image: int, kv_heads: int) -> Path:
    """Write one for images of so many pixels, with so many key heads for its four query heads."""
    folder.mkdir(parents=True, exist_ok=True)
    _network(image=image, kv_heads=kv_heads).save_pretrained(folder)
    _tokenizer(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": image}, crop_size={"height": image, "width": image}
    ).save_pretrained(folder)
    return folder
