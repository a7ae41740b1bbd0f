"""Stage 3: train the bundled model from scratch.

Usage:
    python -m training.train --out build/training

First the vision tower learns what each patch shows, then the whole model learns to talk while the
patch heads keep the tower honest. Each stage lasts a given number of minutes: the learning rate
follows the clock, so that a slower machine sees fewer pictures but ends well all the same.
Interrupted, the same command goes on from the last checkpoint. Curves go to `curves.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import LlavaForConditionalGeneration

from secondsight.benchmarks.stickers.captions import NUMBERS
from secondsight.benchmarks.stickers.catalog import CATEGORIES, COLOURS

from .data import Packer, Scenes
from .matching import match_words
from .network import Trainee
from .targets import MOST, Shape
from .tokenizer import VOCABULARY

#: By this step of talking, patches lie near their words.
MATCHING_STEP = 100
#: Words that tell an object's column and line.
PLACES = (("left", "middle", "right"), ("top", "middle", "bottom"))
#: Words that tell on which side of an object another is: others than those for places, since both
#: are read off one state.
SIDES = (("before", "after"), ("above", "below"))
#: Weight decay of matrices.
DECAY = 0.05


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: "see" or "talk".
        minutes: How long it lasts.
        batch: Pictures per step.
        rate: Peak learning rate.
        vision_rate: Peak learning rate of the vision tower.
        final: Learning rate at the end, as a share of the peak.
        warmup: Steps of warm-up.
    """

    name: str
    minutes: float
    batch: int
    rate: float
    vision_rate: float
    final: float
    warmup: int


def stages(see: float, talk: float) -> tuple[Stage, Stage]:
    """The two stages with their lengths in minutes."""
    return (
        Stage("see", see, 48, 3e-4, 1.5e-3, 0.3, 100),
        Stage("talk", talk, 24, 1e-3, 4e-4, 0.0, 100),
    )


class Trainer:
    """The model in bfloat16, its weights in float32, their average, and where training stands.

    Args:
        shape: Sizes of the inputs.
        seed: Seed of weights and data.
        init: A Hugging Face LLaVA folder to start from, or None to start from nothing.
        rank: Which of the processes this is.
        world: How many there are.
    """

    def __init__(
        self, shape: Shape, seed: int, init: Path | None = None, rank: int = 0, world: int = 1
    ) -> None:
        torch.manual_seed(seed)
        self.rank, self.world = rank, world
        self.shape = shape
        self.seed = seed
        self.packer = Packer(shape)
        self.model = Trainee(shape, self.packer.start)
        self.warm = init is not None
        if init is not None:
            start_from(self.model, init, shape)
        named = dict(self.model.named_parameters())
        self.names = list(named)
        self.master = [as_matrix(p.detach().clone()) for p in named.values()]
        self.average = [p.clone() for p in self.master]
        self.model.to(torch.bfloat16)
        self.params = list(self.model.parameters())
        self.muon = torch.optim.Muon(
            self._groups(inner=True), weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"
        )
        self.adamw = torch.optim.AdamW(self._groups(inner=False), betas=(0.9, 0.98), foreach=True)
        self.decisive = torch.tensor(self.packer.decisive)
        self.words = torch.zeros(len(CATEGORIES), VOCABULARY)
        for row, category in zip(self.words, CATEGORIES, strict=True):
            for text, share in ((category.name, 0.7), (category.plural, 0.3)):
                tokens = self.packer.sp.encode(text)
                for token in tokens:
                    row[token] += share / len(tokens)
        stop = torch.zeros(1, VOCABULARY)
        stop[0, self.packer.stop] = 1.0
        self.next_words = torch.cat([self.words, stop])
        self.numbers = self._first_pieces(NUMBERS[1 : MOST + 1])
        places = [self._first_pieces(names) for names in PLACES]
        colours = self._first_pieces(tuple(COLOURS))
        sides = [self._first_pieces(names) for names in SIDES]
        self.patch_facts = [*places, self.numbers]
        self.facts = [self.numbers, colours, *places, *sides]
        self.stage, self.step, self.seconds = 0, 0, 0.0

    def _first_pieces(self, words: Iterable[str]) -> Tensor:
        return torch.tensor([self.packer.sp.encode(word)[0] for word in words])

    def _groups(self, inner: bool) -> list[dict[str, Any]]:
        """Groups of weights: the matrices inside the network, or all others.

        Embeddings, heads and what has no two dimensions is left to AdamW, as Muon's authors do.
        """
        groups: dict[tuple[bool, bool], dict[str, Any]] = {}
        for name, weights in zip(self.names, self.master, strict=True):
            outer = "embed_tokens" in name or "position_embedding" in name or "heads" in name
            if inner == (weights.ndim == 2 and not outer):
                vision, matrix = "vision_tower" in name or "heads" in name, weights.ndim == 2
                group = {"params": [], "weight_decay": DECAY if matrix else 0.0, "vision": vision}
                groups.setdefault((vision, matrix), group)["params"].append(weights)
        return list(groups.values())

    def losses(self, batch: dict[str, Tensor], talk: bool) -> tuple[Tensor, dict[str, float]]:
        """The loss to minimise, and what to log."""
        features = self.model.see(batch["pixels"])
        patch, seen = self.model.patch_loss(features, batch["targets"])
        words, place = self.model.word_loss(
            features, batch["targets"], self.words, self.patch_facts
        )
        log = {
            "patch_loss": patch.item(),
            "patch_accuracy": seen.item(),
            "word_loss": words.item(),
            "place_loss": place.item(),
        }
        if not talk:
            return patch + 0.3 * words + 0.3 * place, log
        hidden, half = self.model.read(features, batch["ids"], batch["positions"], batch["block"])
        asked_loss, found = self.model.asked_loss(half, batch["asked"], self.decisive)
        text, guess, target = self.model.text_loss(hidden, batch["labels"], batch["weights"])
        asked = torch.isin(target, self.decisive)
        right = guess == target
        log |= {
            "text_loss": text.item(),
            "token_accuracy": right.float().mean().item(),
            "yes_no_accuracy": right[asked].float().mean().item(),
        }
        facts = self.model.told_loss(half, batch["asked"][:, 1:].unbind(1), self.facts)
        following, foreseen = self.model.next_loss(
            half, batch["told"], self.next_words, self.numbers
        )
        log |= {
            "asked_accuracy": found.item(),
            "facts_loss": facts.item(),
            "next_accuracy": foreseen.item(),
        }
        aids = 0.5 * patch + 0.3 * words + 0.5 * asked_loss + 0.3 * place + 0.3 * facts
        aids = aids + 0.5 * following
        return text + aids, log

    def update(
        self, loss: Tensor, rate: float, vision_rate: float, keep: float, seconds: float
    ) -> None:
        """One step of the optimizers on the float32 weights, and of their average.

        Gradients, and the first process's clock, are shared by all processes.
        """
        for p in self.params:
            p.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        used = [(p, w) for p, w in zip(self.params, self.master, strict=True) if p.grad is not None]
        for w in self.master:
            w.grad = None
        clock = torch.tensor([seconds if self.rank == 0 else 0.0])
        flat = torch.cat(
            [clock, *(p.grad.float().flatten() for p, _ in used if p.grad is not None)]
        )
        if self.world > 1:
            torch.distributed.all_reduce(flat)
        self.seconds = flat[0].item()
        start = 1
        for _, w in used:
            w.grad = flat[start : start + w.numel()].view_as(w) / self.world
            start += w.numel()
        torch.nn.utils.clip_grad_norm_(self.master, 1.0, foreach=True)
        for optimizer in (self.muon, self.adamw):
            for group in optimizer.param_groups:
                group["lr"] = vision_rate if group["vision"] else rate
            optimizer.step()
        self._compute_with_master()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.master, 1.0 - keep)

    def _compute_with_master(self) -> None:
        """The weights for computing are the float32 ones, rounded."""
        with torch.no_grad():
            torch._foreach_copy_([as_matrix(p) for p in self.params], self.master)

    def start_matching(self) -> None:
        """Sets two heads to find words among the patches; the same in every process."""
        batch = next(iter(Scenes(self.shape, 24, self.seed + 99)))
        trainee = Trainee(self.shape, self.packer.start)
        with torch.no_grad():
            torch._foreach_copy_([as_matrix(p) for p in trainee.parameters()], self.master)
        rows, query, key = match_words(trainee, batch["pixels"], batch["targets"], self.words)
        prefix = "llava.model.language_model.layers.0.self_attn."
        for name, value in (("q_proj.weight", query), ("k_proj.weight", key)):
            place = self.names.index(prefix + name)
            for weights in (self.master, self.average, self.params):
                weights[place].data[rows] = value.to(weights[place].dtype)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {
            "names": self.names,
            "master": self.master,
            "average": self.average,
            "muon": self.muon.state_dict(),
            "adamw": self.adamw.state_dict(),
            "stage": self.stage,
            "step": self.step,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state."""
        with torch.no_grad():
            torch._foreach_copy_(self.master, state["master"])
            torch._foreach_copy_(self.average, state["average"])
        self._compute_with_master()
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
        self.stage, self.step, self.seconds = state["stage"], state["step"], state["seconds"]


def as_matrix(weights: Tensor) -> Tensor:
    """A view of weights as Muon takes them: the convolution over a patch is a matrix."""
    return weights.flatten(1) if weights.ndim > 2 else weights


def start_from(trainee: Trainee, folder: Path, shape: Shape) -> None:
    """Loads a LLaVA's weights; position embeddings of another picture size are interpolated."""
    weights = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    state = weights.state_dict()
    name = next(key for key in state if key.endswith("position_embedding.weight"))
    grid = state[name][1:].T.unflatten(1, (-1, int((len(state[name]) - 1) ** 0.5)))
    grid = F.interpolate(grid[None], (shape.side, shape.side), mode="bicubic")[0]
    state[name] = torch.cat([state[name][:1], grid.flatten(1).T])
    trainee.llava.load_state_dict(state)


def save(trainer: Trainer, path: Path) -> None:
    """Writes a checkpoint; the old one stays until the new one is whole."""
    partial = path.with_suffix(".part")
    torch.save(trainer.state(), partial)
    partial.replace(path)


def run(trainer: Trainer, plan: tuple[Stage, ...], out: Path, every: int, unknown: float) -> None:
    """Goes through the stages from where the trainer stands."""
    checkpoint = out / "checkpoint.pt"
    while trainer.stage < len(plan):
        stage = plan[trainer.stage]
        budget = 60.0 * stage.minutes
        talk = stage.name == "talk"
        data = Scenes(
            trainer.shape,
            stage.batch,
            trainer.seed + 10 * trainer.stage,
            trainer.step,
            talk,
            unknown,
            (trainer.rank, trainer.world),
        )
        loader = DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=8)
        saved = time.monotonic()
        last: float | None = None
        sums: dict[str, float] = {}
        summed = 0  # fewer than `every` where a run was continued
        for batch in loader:
            progress = trainer.seconds / budget
            if progress >= 1.0:
                break
            shape = stage.final + (1 - stage.final) * 0.5 * (1 + math.cos(math.pi * progress))
            shape *= min(1.0, (trainer.step + 1) / stage.warmup)
            if talk and trainer.step == MATCHING_STEP and not trainer.warm:
                trainer.start_matching()
            loss, log = trainer.losses(batch, talk)
            keep = min(0.998, (trainer.step + 1) / (trainer.step + 10))
            now = time.monotonic()
            seconds = trainer.seconds + (now - last if last is not None else 0.0)
            last = now
            trainer.update(loss, stage.rate * shape, stage.vision_rate * shape, keep, seconds)
            trainer.step += 1
            if trainer.rank > 0:
                continue
            for key, value in log.items():
                sums[key] = sums.get(key, 0.0) + value
            summed += 1
            if trainer.step % every == 0:
                line = {
                    "stage": stage.name,
                    "step": trainer.step,
                    "seconds": round(trainer.seconds, 1),
                    "rate": round(stage.rate * shape, 7),
                    **{k: round(v / summed, 4) for k, v in sums.items()},
                }
                sums, summed = {}, 0
                with (out / "curves.jsonl").open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(line, flush=True)
            if now - saved > 120:
                save(trainer, checkpoint)
                saved = time.monotonic()
        trainer.stage, trainer.step, trainer.seconds = trainer.stage + 1, 0, 0.0
        if trainer.rank == 0:
            save(trainer, checkpoint)
            save(trainer, out / f"after_{stage.name}.pt")


def work(rank: int, args: argparse.Namespace) -> None:
    """One of the processes: an equal part of every batch, on one thread."""
    torch.set_num_threads(1)
    if args.processes > 1:
        torch.distributed.init_process_group(
            "gloo",
            init_method=f"tcp://127.0.0.1:{args.port}",
            rank=rank,
            world_size=args.processes,
        )
    trainer = Trainer(Shape(), args.seed, args.init, rank, args.processes)
    if (args.out / "checkpoint.pt").exists():
        trainer.restore(torch.load(args.out / "checkpoint.pt", weights_only=True))
    run(trainer, stages(args.see, args.talk), args.out, args.every, args.unknown)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/training"))
    parser.add_argument("--see", type=float, default=25, help="minutes of the first stage")
    parser.add_argument("--talk", type=float, default=77, help="minutes of the second stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--processes", type=int, default=2, help="one per core; no thread ever waits for another"
    )
    parser.add_argument("--port", type=int, default=29517, help="where the processes meet")
    parser.add_argument("--every", type=int, default=20, help="steps between two log lines")
    parser.add_argument(
        "--unknown", type=float, default=0.05, help="share of pictures without stickers"
    )
    parser.add_argument("--init", type=Path, help="a LLaVA folder to start from (default: nothing)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.processes > 1:
        torch.multiprocessing.spawn(work, (args,), args.processes)  # type: ignore[no-untyped-call]
    else:
        work(0, args)


if __name__ == "__main__":
    main()
