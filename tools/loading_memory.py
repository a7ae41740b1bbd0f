"""How much memory loading a 7B LLaVA-1.5 takes: ``python tools/loading_memory.py FOLDER``.

Writes a checkpoint of LLaVA-1.5-7B's shapes with random bfloat16 weights in the original layout
(14 GB, in shards of 2 GB), loads it in a process of its own, and deletes it. Two figures are
reported, both less what the process had before loading: *anonymous* memory, which the process
alone holds, and the *resident* set, which counts pages mapped from the weight files too. The
system may drop those pages under pressure, so they are counted to be fair, and read in full
afterwards, as computing would, so that they are all there to be counted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import torch

GIB = 2**30
SHARD = 2 * GIB
LAYERS, HIDDEN, INNER, WORDS = 32, 4096, 11008, 32000
VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
    "model_type": "clip_vision_model",
}


def language_shapes(layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the language model's and the projector's tensors."""
    yield "model.embed_tokens.weight", (WORDS, HIDDEN)
    for layer in range(layers):
        start = f"model.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield f"{start}self_attn.{name}.weight", (HIDDEN, HIDDEN)
        yield f"{start}mlp.gate_proj.weight", (INNER, HIDDEN)
        yield f"{start}mlp.up_proj.weight", (INNER, HIDDEN)
        yield f"{start}mlp.down_proj.weight", (HIDDEN, INNER)
        yield f"{start}input_layernorm.weight", (HIDDEN,)
        yield f"{start}post_attention_layernorm.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (WORDS, HIDDEN)
    for place, width in (("0", VISION["hidden_size"]), ("2", HIDDEN)):
        yield f"model.mm_projector.{place}.weight", (HIDDEN, int(width))
        yield f"model.mm_projector.{place}.bias", (HIDDEN,)


def random_weights(shape: tuple[int, ...], pool: torch.Tensor) -> torch.Tensor:
    """Random values, drawn once and repeated: their size matters here, not their values."""
    count = torch.Size(shape).numel()
    return pool.repeat(count // len(pool) + 1)[:count].reshape(shape).clone()


def write(folder: Path, layers: int) -> None:
    """Write the checkpoint, and its tower beside it."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    target, tower = folder / "llava-7b-random", folder / "clip-random"
    target.mkdir(parents=True)
    pool = (torch.randn(2**20) * 0.02).to(torch.bfloat16)
    shard: dict[str, torch.Tensor] = {}
    weight_map: dict[str, str] = {}
    filled = number = 0

    def flush() -> None:
        name = f"pytorch_model-{number:05d}.bin"
        torch.save(shard, target / name)
        weight_map.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, shape in language_shapes(layers):
        shard[name] = random_weights(shape, pool)
        filled += shard[name].nbytes
        if filled > SHARD:
            flush()
            filled, number = 0, number + 1
    flush()
    index = json.dumps({"weight_map": weight_map})
    (target / "pytorch_model.bin.index.json").write_text(index)
    config = {
        "model_type": "llava",
        "architectures": ["LlavaLlamaForCausalLM"],
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": WORDS,
        "max_position_embeddings": 4096,
        "mm_hidden_size": 1024,
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "clip-random",
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    (target / "config.json").write_text(json.dumps(config))
    bundled = Path(str(resources.files("secondsight.checkpoints") / "bundled"))
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copyfile(bundled / name, target / name)
    clip = CLIPVisionModel(CLIPVisionConfig(**VISION)).to(torch.bfloat16)
    clip.save_pretrained(tower)


def resident() -> dict[str, int]:
    """This process's memory in bytes: anonymous, and resident in all."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        name: int(fields[field].split()[0]) * 1024
        for name, field in (("anonymous", "RssAnon"), ("resident", "VmRSS"))
    }


class Peak:
    """Watches this process's memory in a thread."""

    def __init__(self) -> None:
        self.before = resident()
        self.highest = dict(self.before)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self._look()

    def _look(self) -> None:
        for name, value in resident().items():
            self.highest[name] = max(self.highest[name], value)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def added(self) -> dict[str, int]:
        """What was added at the peak."""
        return {name: self.highest[name] - self.before[name] for name in self.before}


def measure(folder: Path) -> dict[str, float]:
    """Load the checkpoint, read every weight, and say what it took."""
    import secondsight
    from secondsight.checkpoints import original  # noqa: F401  # imports are not the model's memory

    start = time.perf_counter()
    with Peak() as loading:
        model = secondsight.load(folder / "llava-7b-random", device="cpu", dtype="bfloat16")
    seconds = time.perf_counter() - start
    weights = sum(parameter.nbytes for parameter in model.hf_model.parameters())
    with Peak() as reading:
        reading.before = loading.before
        for parameter in model.hf_model.parameters():
            for piece in parameter.data.reshape(-1).split(2**24):
                piece.view(torch.int16)[::2048].sum()  # one value of every page
    return {
        "weights_gib": weights / GIB,
        "load_seconds": seconds,
        **{f"{k}_peak_loading": v / weights for k, v in loading.added().items()},
        **{f"{k}_peak_after_reading_all": v / weights for k, v in reading.added().items()},
    }


def main() -> None:
    """Write, measure in a fresh process, delete."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where 15 GB are free; a folder is made in it")
    parser.add_argument("--layers", type=int, default=LAYERS, help="fewer for a quick try")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.folder)))
        return
    folder = arguments.folder / "loading-memory"
    try:
        write(folder, arguments.layers)
        command = [sys.executable, __file__, str(folder), "--measure"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        for name, value in json.loads(done.stdout.splitlines()[-1]).items():
            print(f"{name:40} {value:8.3f}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
