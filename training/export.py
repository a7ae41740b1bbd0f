"""Stage 4: write a checkpoint as a Hugging Face LLaVA folder in float16.

Usage:
    python -m training.export build/training/checkpoint.pt
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from .data import MEAN, STD
from .network import Trainee
from .targets import Shape
from .tokenizer import BUNDLED, PAD_ID


def export(checkpoint: Path, target: Path = BUNDLED, weights: str = "master") -> None:
    """Writes configuration, weights and image processor beside the tokenizer in `target`.

    The heads that only training needs are left out.

    Args:
        checkpoint: A checkpoint of `training.train`.
        target: Where to write.
        weights: "master", the weights themselves, or "average", their running average.
    """
    shape = Shape()
    state = torch.load(checkpoint, weights_only=True)
    trainee = Trainee(shape, 0)
    named = dict(trainee.named_parameters())
    with torch.no_grad():
        for name, value in zip(state["names"], state[weights], strict=True):
            named[name].copy_(value.view_as(named[name]))
    model = trainee.llava
    model.generation_config.bos_token_id = 1
    model.generation_config.eos_token_id = 2
    model.generation_config.pad_token_id = PAD_ID
    model.half().save_pretrained(target)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "crop_size": {"height": shape.image, "width": shape.image},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": MEAN,
        "image_std": STD,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": shape.image},
    }
    (target / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")
    tokens = {
        "processor_class": "LlavaProcessor",
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "patch_size": shape.patch,
        "vision_feature_select_strategy": "default",
    }
    (target / "processor_config.json").write_text(json.dumps(tokens, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--target", type=Path, default=BUNDLED)
    parser.add_argument("--weights", choices=("master", "average"), default="master")
    args = parser.parse_args()
    export(args.checkpoint, args.target, args.weights)
