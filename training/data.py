"""Training batches: drawn scenes with many conversations packed into one sequence.

A sequence is `[system prompt][image][conversation 1][conversation 2]...`. Each conversation sees
the prompt and the image but none of the others, and its positions start right behind the image:
to the model it is alone, exactly as at inference, while the image is encoded once for all.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from random import Random

import numpy as np
import sentencepiece
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch.utils.data import IterableDataset

from secondsight.benchmarks.stickers.captions import NUMBERS, common_colour
from secondsight.benchmarks.stickers.catalog import CATEGORIES
from secondsight.benchmarks.stickers.render import Rendering, render
from secondsight.benchmarks.stickers.scene import Scene, SceneKnobs, SceneObject, make_scene

from .dialogue import Dialogue, dialogues
from .targets import CATEGORY, COLOUR, FINE, IGNORE, MOST, Shape, patch_targets, sides, thirds
from .tokenizer import BUNDLED, SYSTEM
from .unknown import unknown_picture

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
_FILL = tuple(int(255 * m) for m in MEAN)
EOS = 2
#: What the tokens of an answer weigh in the loss, where others weigh 1: "Yes" and "No", which say
#: all that their answers say, and a first sentence, which names what there is, numbers above all.
DECISIVE, FIRST, NUMBER = 12, 3, 6

#: While the vision tower learns alone, pictures are crowded: more objects to learn from in each.
CROWD = SceneKnobs(
    objects=(8, 16),
    scale=(0.12, 0.5),
    overlap=0.25,
    rotation=25.0,
    repetition=0.35,
    blur=0.004,
    noise=12.0,
    contrast=0.6,
    cooccurrence=0.0,
)

#: While it learns to talk, some pictures show several of most kinds: where three of a kind are as
#: rare as in the other splits, "two" is too good a guess.
FLOCK = SceneKnobs(objects=(3, 8), repetition=0.7)
FLOCKS = 0.25


def square(picture: Image.Image, side: int, fill: tuple[int, ...] = _FILL) -> Image.Image:
    """Pads to a square with the mean colour, as LLaVA-1.5 does, and resizes."""
    longest = max(picture.size)
    if picture.width != picture.height:
        canvas = Image.new(picture.mode, (longest, longest), fill if picture.mode == "RGB" else 0)
        canvas.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
        picture = canvas
    if longest != side:
        method = Image.Resampling.BICUBIC if picture.mode == "RGB" else Image.Resampling.NEAREST
        picture = picture.resize((side, side), method)
    return picture


class Packer:
    """Turns conversations into one packed sequence."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.sp = sentencepiece.SentencePieceProcessor(model_file=str(BUNDLED / "tokenizer.model"))
        self.prefixes = [
            [1, *self.sp.encode(text + " USER: ")]
            for text in (SYSTEM, SYSTEM.replace("human", "user"))
        ]
        if len({len(p) for p in self.prefixes}) != 1:
            raise ValueError("the system prompts must have equally many tokens")
        self.start = len(self.prefixes[0])
        self.decisive = [self.sp.encode(word)[0] for word in ("Yes", "No")]
        self.numbers = {self.sp.encode(word)[0] for word in NUMBERS[1:]}
        self.stop = self.sp.encode("cat.")[-1]
        self.endings: dict[int, list[tuple[list[int], str]]] = {}
        for category in CATEGORIES:
            for form in {category.name, category.plural}:
                tokens = self.sp.encode(form)
                self.endings.setdefault(tokens[-1], []).append((tokens, category.name))
        for found in self.endings.values():
            found.sort(key=lambda pair: -len(pair[0]))

    def asked(self, row: dict[str, NDArray[np.int64]], scene: Scene) -> NDArray[np.int64]:
        """What there is to know of a question's object: (7, length), -100 where nothing is.

        Whether the picture shows it (1 or 0); how many, less one; the one colour of all; where it
        shows just one, its thirds; and on which side of it (0 left or above, 1 right or below) the
        object is that the same conversation named before.
        """
        ids = row["ids"].tolist()
        marks = np.full((7, len(ids)), IGNORE)
        before: dict[int, SceneObject] = {}
        for i in np.nonzero((row["labels"] == IGNORE) & (row["block"] > 1))[0]:
            name = self._named(ids, i)
            if name is None:
                continue
            items = scene.of(name)
            marks[0, i] = bool(items)
            if not items:
                continue
            if len(items) <= MOST:
                marks[1, i] = len(items) - 1
            colour = common_colour(items)
            if colour is not None:
                marks[2, i] = COLOUR[colour] - 1
            if len(items) == 1:
                marks[3:5, i] = thirds(items[0])
                conversation = int(row["block"][i])
                other = before.get(conversation)
                if other is not None:
                    marks[5:, i] = sides(other, items[0])
                before[conversation] = items[0]
        return marks

    def _named(self, ids: list[int], end: int) -> str | None:
        """The category whose name ends with a token."""
        for tokens, name in self.endings.get(ids[end], ()):
            if ids[end + 1 - len(tokens) : end + 1] == tokens:
                return name
        return None

    def told(self, row: dict[str, NDArray[np.int64]], scene: Scene) -> NDArray[np.int64]:
        """What an answer's first sentence will name next: (2, length), -100 where it is over.

        The category (the number of categories stands for "no more"), and how many there are of
        it, less one. At every token that still has to decide it, the question's last included;
        answers that begin with "Yes" or "No" are left out.
        """
        ids, labels = row["ids"].tolist(), row["labels"]
        marks = np.full((2, len(ids)), IGNORE)
        starts = np.nonzero((labels[1:] != IGNORE) & (labels[:-1] == IGNORE))[0] + 1
        for start in starts:
            if ids[start] in self.decisive:
                continue
            end = self._sentence_end(ids, start)
            following = (len(CATEGORIES), IGNORE)
            for i in range(end - 1, start - 2, -1):
                marks[:, i] = following
                name = self._named(ids, i)
                if name is not None:
                    count = len(scene.of(name))
                    few = 0 < count <= MOST
                    following = (CATEGORY[name] - 1, count - 1 if few else IGNORE)
        return marks

    def encode(self, dialogue: Dialogue) -> tuple[list[int], list[int], list[int]]:
        """Ids of a conversation from behind the image on, its labels, and what they weigh."""
        ids: list[int] = []
        labels: list[int] = []
        weights: list[int] = []
        for number, (question, answer) in enumerate(dialogue.turns):
            lead = "USER: " if number else "\n"
            asked = self.sp.encode(f"{lead}{question} ASSISTANT:")
            said = [*self.sp.encode(answer), EOS]
            ids += asked + said
            labels += [IGNORE] * len(asked) + said
            weights += [0] * len(asked) + self._weights(said)
        return ids, labels, weights

    def _weights(self, said: list[int]) -> list[int]:
        """What an answer's tokens weigh: "Yes" and "No" most, then the first sentence's numbers."""
        weights = [1] * len(said)
        if said[0] in self.decisive:
            weights[0] = DECISIVE
        else:
            first = said[: self._sentence_end(said, 0) + 1]
            weights[: len(first)] = [NUMBER if i in self.numbers else FIRST for i in first]
        return weights

    def _sentence_end(self, ids: Sequence[int], start: int) -> int:
        """The place of the first full stop or end from `start` on."""
        return next(i for i in range(start, len(ids)) if ids[i] in (self.stop, EOS))

    def pack(self, items: list[Dialogue], other_system: bool) -> dict[str, NDArray[np.int64]]:
        """Packs as many of the conversations as fit.

        Returns:
            `ids`, `labels`, `weights`, `positions` and `block`, each (length,). Block 0 is the
            prompt, 1 the image, then one per conversation, negative for one without the image; -1
            is padding.
        """
        shape = self.shape
        ids = self.prefixes[other_system] + [0] * shape.patches
        base = len(ids)
        labels = [IGNORE] * base
        weights = [0] * base
        positions = list(range(base))
        block = [0] * self.start + [1] * shape.patches
        number = 2
        for item in items:
            more, wanted, weigh = self.encode(item)
            if len(ids) + len(more) > shape.length:
                continue
            first = self.start if item.blind else base
            ids += more
            labels += wanted
            weights += weigh
            positions += range(first, first + len(more))
            block += [-number if item.blind else number] * len(more)
            number += 1
        missing = shape.length - len(ids)
        return {
            "ids": np.array(ids + [0] * missing),
            "labels": np.array(labels + [IGNORE] * missing),
            "weights": np.array(weights + [0] * missing),
            "positions": np.array(positions + [0] * missing),
            "block": np.array(block + [-1] * missing),
        }


def degrade(picture: Image.Image, rng: Random) -> Image.Image:
    """What happens to pictures on their way: compression, light, colour."""
    if rng.random() < 0.2:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=rng.randint(35, 95))
        picture = Image.open(buffer).convert("RGB")
    if rng.random() < 0.2:
        picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.6, 1.35))
    if rng.random() < 0.15:
        picture = ImageEnhance.Color(picture).enhance(rng.uniform(0.6, 1.4))
    return picture


class Scenes(IterableDataset[dict[str, torch.Tensor]]):
    """Batches without end, the same for the same seed and first step.

    Args:
        shape: Sizes.
        batch: Pictures per batch.
        seed: Seed; pictures of different seeds differ.
        first: First step, to go on where a run stopped.
        text: Whether to add conversations to the pictures.
        unknown: Share of pictures without stickers.
        part: Which of the equal parts of each batch to yield, and how many there are.
    """

    def __init__(
        self,
        shape: Shape,
        batch: int,
        seed: int,
        first: int = 0,
        text: bool = True,
        unknown: float = 0.05,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        if batch % part[1]:
            raise ValueError(f"a batch of {batch} cannot be cut into {part[1]} equal parts")
        self.part = part
        self.shape = shape
        self.batch = batch
        self.seed = seed
        self.first = first
        self.text = text
        self.unknown = unknown

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = torch.utils.data.get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        packer = Packer(self.shape)
        step = self.first + offset
        while True:
            index, parts = self.part
            count = self.batch // parts
            start = step * self.batch + index * count
            rows = [self._row(packer, start + i) for i in range(count if self.text else count // 2)]
            if not self.text:  # drawing a crowd is dear, its mirror image costs nothing
                rows += [self._mirrored(row) for row in rows]
            yield {k: torch.from_numpy(np.stack([row[k] for row in rows])) for k in rows[0]}
            step += stride

    def _mirrored(self, row: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        n = self.shape.side
        targets = row["targets"].reshape(-1, n, n)[..., ::-1].reshape(-1, n * n).copy()
        for left_to_right, last in ((2, 2), (5, FINE)):
            known = targets[left_to_right]
            targets[left_to_right] = np.where(known >= 0, last - known, IGNORE)
        return {"pixels": row["pixels"][..., ::-1].copy(), "targets": targets.copy()}

    def _row(self, packer: Packer, number: int) -> dict[str, NDArray[np.generic]]:
        rng = Random(f"row/{self.seed}/{number}")
        side = self.shape.image
        long_side = rng.choice((side, side, side, side + side // 2))
        special, share = (FLOCK, FLOCKS) if self.text else (CROWD, 0.8)
        knobs = special if rng.random() < share else None
        scene = make_scene("train", self.seed * 100_000_000 + number, knobs)
        if rng.random() < self.unknown:
            picture = unknown_picture(f"{self.seed}/{number}", long_side)
            owner = np.zeros((picture.height, picture.width), dtype=np.uint8)
            scene = Scene("train", 0, picture.width, picture.height, None, "", 0, 0, 0, 1, 1)
            drawn = Rendering(picture, owner)
        else:
            drawn = render(scene, long_side)
        picture = square(degrade(drawn.image, rng), side)
        owner = np.asarray(square(Image.fromarray(drawn.owner), side))
        row: dict[str, NDArray[np.generic]] = {
            "pixels": np.asarray(picture).transpose(2, 0, 1),
            "targets": patch_targets(scene, owner, self.shape),
        }
        if self.text:
            items = dialogues(scene, rng, 12)
            row.update(packer.pack(items, rng.random() < 0.15))
            row["asked"] = packer.asked(row, scene)
            row["told"] = packer.told(row, scene)
        return row
