"""Tiny random models of every family, with the family's real processor, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CORPUS = [
    "Please describe this image in detail. There is a red cat on the table.",
    "Is there a dog in the image? Yes. No. What colour is the small bicycle?",
    "How many people are there? Two people ride a bus. The sky is blue, the grass green.",
    "Question: What is unusual about this picture? Answer: nothing at all.",
]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}IMAGE{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Built:
    """A tiny model and its processor.

    Attributes:
        model: The model, as transformers makes it.
        processor: The processor.
        prompt: For families without a chat template: the text that the processor takes.
    """

    model: Any
    processor: Any
    prompt: str | None = None


def tokenizer(named: dict[str, str], extra: tuple[str, ...] = ()) -> Any:
    """A byte-level tokenizer trained on a few lines, with a family's special tokens."""
    special = ["<pad>", "<s>", "</s>", "<unk>", "<|user|>", "<|assistant|>", "<|end|>"]
    special += list(dict.fromkeys([*named.values(), *extra]))
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360 + len(special),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(CORPUS * 3, trainer)
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=named,
        model_max_length=2048,
    )


def template(image: str) -> str:
    return TEMPLATE.replace("IMAGE", image)


SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def text(words: Any, **more: Any) -> dict[str, Any]:
    """Sizes of a language model over a tokenizer's words."""
    return {
        **SIZES,
        "num_key_value_heads": 2,
        "vocab_size": len(words),
        "max_position_embeddings": 2048,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "tie_word_embeddings": False,
        **more,
    }


def clip(side: int = 28) -> Any:
    return tf.CLIPVisionConfig(**SIZES, image_size=side, patch_size=14, projection_dim=32)


def siglip(side: int = 28, patch: int = 14) -> Any:
    return tf.SiglipVisionConfig(
        **SIZES, image_size=side, patch_size=patch, vision_use_head=False, projection_dim=32
    )


def filled(model_class: Any, config: Any, words: Any) -> Any:
    """A model with random weights, so scaled that it neither repeats itself nor is always sure."""
    model = model_class(config).to(torch.float32).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "norm" in name or name.endswith("bias") or weights.ndim == 1:
                continue
            scale = 1.0 if "lm_head" in name else 0.25
            weights.copy_(torch.randn(weights.shape, generator=generator) * scale)
        # A written image token would ask the reference, which has no cache, for another image.
        never = [id for id in words.all_special_ids if id != words.eos_token_id]
        model.get_output_embeddings().weight[never] = 0
    model.generation_config = tf.GenerationConfig(
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return model


def llava() -> Built:
    """LLaVA on Qwen 2 and SigLIP, which brings a chat template of its own."""
    words = tokenizer({"image_token": "<image>"})
    config = tf.LlavaConfig(
        text_config=tf.Qwen2Config(**text(words)),
        vision_config=siglip(),
        image_token_index=words.image_token_id,
        image_seq_length=4,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    processor = tf.LlavaProcessor(
        tf.SiglipImageProcessorPil(size={"height": 28, "width": 28}),
        words,
        patch_size=14,
        vision_feature_select_strategy="full",
        chat_template=template("<image>\n"),
    )
    return Built(filled(tf.LlavaForConditionalGeneration, config, words), processor)


PINPOINTS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]


def llava_next() -> Built:
    words = tokenizer({"image_token": "<image>"})
    config = tf.LlavaNextConfig(
        text_config=tf.LlamaConfig(**text(words)),
        vision_config=clip(),
        image_token_index=words.image_token_id,
        image_grid_pinpoints=PINPOINTS,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    processor = tf.LlavaNextProcessor(
        tf.LlavaNextImageProcessorPil(
            size={"shortest_edge": 28},
            crop_size={"height": 28, "width": 28},
            image_grid_pinpoints=PINPOINTS,
        ),
        words,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>\n"),
    )
    return Built(filled(tf.LlavaNextForConditionalGeneration, config, words), processor)


def llava_onevision() -> Built:
    words = tokenizer({"image_token": "<image>", "video_token": "<video>"})
    config = tf.LlavaOnevisionConfig(
        text_config=tf.Qwen2Config(**text(words)),
        vision_config=siglip(),
        image_token_index=words.image_token_id,
        video_token_index=words.video_token_id,
        image_grid_pinpoints=PINPOINTS,
        tie_word_embeddings=False,
    )
    processor = tf.LlavaOnevisionProcessor(
        tf.LlavaOnevisionImageProcessorPil(
            size={"height": 28, "width": 28}, image_grid_pinpoints=PINPOINTS
        ),
        words,
        tf.LlavaOnevisionVideoProcessor(size={"height": 28, "width": 28}),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=template("<image>\n"),
    )
    return Built(filled(tf.LlavaOnevisionForConditionalGeneration, config, words), processor)


QWEN = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}


def _qwen_ids(words: Any) -> dict[str, int]:
    return {
        "image_token_id": words.image_token_id,
        "video_token_id": words.video_token_id,
        "vision_start_token_id": words.vision_start_token_id,
        "vision_end_token_id": words.vision_end_token_id,
    }


def _qwen_pixels(patch: int) -> Any:
    return tf.Qwen2VLImageProcessorPil(
        size={"shortest_edge": (2 * patch) ** 2, "longest_edge": (8 * patch) ** 2},
        patch_size=patch,
    )


def qwen2_vl() -> Built:
    words = tokenizer(QWEN)
    config = tf.Qwen2VLConfig(
        text_config=text(words, rope_parameters=ROPE),
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4},
        tie_word_embeddings=False,
        **_qwen_ids(words),
    )
    processor = tf.Qwen2VLProcessor(
        _qwen_pixels(14), words, tf.Qwen2VLVideoProcessor(), chat_template=template(QWEN_IMAGE)
    )
    return Built(filled(tf.Qwen2VLForConditionalGeneration, config, words), processor)


def qwen2_5_vl() -> Built:
    words = tokenizer(QWEN)
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "out_hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    config = tf.Qwen2_5_VLConfig(
        text_config=text(words, rope_parameters=ROPE),
        vision_config=vision,
        tie_word_embeddings=False,
        **_qwen_ids(words),
    )
    processor = tf.Qwen2_5_VLProcessor(
        _qwen_pixels(14), words, tf.Qwen2VLVideoProcessor(), chat_template=template(QWEN_IMAGE)
    )
    return Built(filled(tf.Qwen2_5_VLForConditionalGeneration, config, words), processor)


def qwen3_vl() -> Built:
    words = tokenizer(QWEN)
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "out_hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0, 1],
    }
    config = tf.Qwen3VLConfig(
        text_config=text(words, head_dim=8, rope_parameters=ROPE),
        vision_config=vision,
        tie_word_embeddings=False,
        **_qwen_ids(words),
    )
    processor = tf.Qwen3VLProcessor(
        _qwen_pixels(16), words, tf.Qwen3VLVideoProcessor(), chat_template=template(QWEN_IMAGE)
    )
    return Built(filled(tf.Qwen3VLForConditionalGeneration, config, words), processor)


def internvl() -> Built:
    named = {
        "context_image_token": "<IMG_CONTEXT>",
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "video_token": "<video>",
    }
    words = tokenizer(named)
    config = tf.InternVLConfig(
        text_config=tf.Qwen2Config(**text(words)),
        vision_config=tf.InternVLVisionConfig(**SIZES, image_size=[28, 28], patch_size=[7, 7]),
        image_token_id=words.context_image_token_id,
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    processor = tf.InternVLProcessor(
        tf.GotOcr2ImageProcessorPil(
            size={"height": 28, "width": 28}, crop_to_patches=True, min_patches=1, max_patches=4
        ),
        words,
        tf.InternVLVideoProcessor(),
        image_seq_length=4,
        chat_template=template("<IMG_CONTEXT>\n"),
    )
    return Built(filled(tf.InternVLForConditionalGeneration, config, words), processor)


IDEFICS = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}
CELLS = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))


def _idefics(config_class: Any, vision_class: Any, words: Any) -> Any:
    return config_class(
        text_config=tf.LlamaConfig(**text(words)),
        vision_config=vision_class(**SIZES, image_size=28, patch_size=7),
        image_token_id=words.image_token_id,
        scale_factor=2,
        tie_word_embeddings=False,
    )


def smolvlm() -> Built:
    words = tokenizer({**IDEFICS, "video_token": "<video>"}, CELLS)
    config = _idefics(tf.SmolVLMConfig, tf.SmolVLMVisionConfig, words)
    processor = tf.SmolVLMProcessor(
        tf.SmolVLMImageProcessorPil(size={"longest_edge": 56}, max_image_size={"longest_edge": 28}),
        words,
        tf.SmolVLMVideoProcessor(),
        image_seq_len=4,
        chat_template=template("<image>"),
    )
    return Built(filled(tf.SmolVLMForConditionalGeneration, config, words), processor)


def idefics3() -> Built:
    words = tokenizer(IDEFICS, CELLS)
    config = _idefics(tf.Idefics3Config, tf.Idefics3VisionConfig, words)
    processor = tf.Idefics3Processor(
        tf.Idefics3ImageProcessorPil(
            size={"longest_edge": 56}, max_image_size={"longest_edge": 28}
        ),
        words,
        image_seq_len=4,
        chat_template=template("<image>"),
    )
    return Built(filled(tf.Idefics3ForConditionalGeneration, config, words), processor)


def gemma3() -> Built:
    """Gemma 3 with a window shorter than the prompt, and images that attend both ways."""
    named = {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    words = tokenizer(named)
    config = tf.Gemma3Config(
        text_config=tf.Gemma3TextConfig(
            **text(words),
            head_dim=8,
            query_pre_attn_scalar=8,
            sliding_window=12,
            layer_types=["sliding_attention", "full_attention"],
        ),
        vision_config=siglip(),
        mm_tokens_per_image=4,
        boi_token_index=words.boi_token_id,
        eoi_token_index=words.eoi_token_id,
        image_token_index=words.image_token_id,
        tie_word_embeddings=False,
    )
    processor = tf.Gemma3Processor(
        tf.Gemma3ImageProcessorPil(size={"height": 28, "width": 28}),
        words,
        chat_template=template("<start_of_image>"),
        image_seq_length=4,
    )
    return Built(filled(tf.Gemma3ForConditionalGeneration, config, words), processor)


def _paligemma(language: Any, words: Any) -> Built:
    pixels = tf.SiglipImageProcessorPil(size={"height": 28, "width": 28})
    pixels.image_seq_length = 4
    processor = tf.PaliGemmaProcessor(pixels, words)  # adds its location tokens to the words
    config = tf.PaliGemmaConfig(
        text_config=language(
            **text(words),
            head_dim=8,
            **({"sliding_window": 12} if "2" in language.__name__ else {}),
        ),
        vision_config=siglip(),
        image_token_index=words.image_token_id,
        projection_dim=32,
        tie_word_embeddings=False,
    )
    model = filled(tf.PaliGemmaForConditionalGeneration, config, words)
    return Built(model, processor, prompt="<image>{question}")


def paligemma() -> Built:
    return _paligemma(tf.GemmaConfig, tokenizer({"image_token": "<image>"}))


def paligemma2() -> Built:
    return _paligemma(tf.Gemma2Config, tokenizer({"image_token": "<image>"}))


QUERIES = {
    "qformer_config": {
        **SIZES,
        "max_position_embeddings": 64,
        "encoder_hidden_size": 32,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
    "num_query_tokens": 4,
}


def _blip_vision() -> dict[str, Any]:
    return {**SIZES, "image_size": 28, "patch_size": 14}


def _qformer_config(words: Any) -> dict[str, Any]:
    return {**QUERIES["qformer_config"], "vocab_size": len(words)}  # type: ignore[dict-item]


def instructblip() -> Built:
    words = tokenizer({}, ("<image>",))
    reader = tokenizer({})
    config = tf.InstructBlipConfig(
        vision_config=_blip_vision(),
        qformer_config=_qformer_config(reader),
        text_config=tf.LlamaConfig(**text(words)),
        num_query_tokens=4,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    processor = tf.InstructBlipProcessor(
        tf.BlipImageProcessorPil(size={"height": 28, "width": 28}),
        words,
        reader,
        num_query_tokens=4,
    )
    model = filled(tf.InstructBlipForConditionalGeneration, config, words)
    return Built(model, processor, prompt="{question}")


def blip_2() -> Built:
    words = tokenizer({}, ("<image>",))
    language = tf.OPTConfig(
        vocab_size=len(words),
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        word_embed_proj_dim=32,
        dropout=0.0,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        tie_word_embeddings=False,
    )
    config = tf.Blip2Config(
        vision_config=_blip_vision(),
        qformer_config=_qformer_config(words),
        text_config=language,
        num_query_tokens=4,
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_text_hidden_size=32,
    )
    processor = tf.Blip2Processor(
        tf.BlipImageProcessorPil(size={"height": 28, "width": 28}), words, num_query_tokens=4
    )
    model = filled(tf.Blip2ForConditionalGeneration, config, words)
    return Built(model, processor, prompt="Question: {question} Answer:")


FAMILIES: dict[str, Callable[[], Built]] = {
    "LLaVA (Qwen 2, SigLIP)": llava,
    "LLaVA-NeXT": llava_next,
    "LLaVA-OneVision": llava_onevision,
    "Qwen2-VL": qwen2_vl,
    "Qwen2.5-VL": qwen2_5_vl,
    "Qwen3-VL": qwen3_vl,
    "InternVL": internvl,
    "SmolVLM": smolvlm,
    "Idefics3": idefics3,
    "Gemma 3": gemma3,
    "PaliGemma": paligemma,
    "PaliGemma 2": paligemma2,
    "InstructBLIP": instructblip,
    "BLIP-2 (OPT)": blip_2,
}
"""Every family by its name in the table of ``docs/models.md``."""
