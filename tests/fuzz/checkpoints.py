"""Damaged checkpoints: JSON files field by field, weight indexes, and files of weights.

Each is loaded and asked in a child process of its own, with limits. What happens is counted: it
answers as the whole checkpoint does, answers otherwise, is refused in a line, or fails::

    python tests/fuzz/checkpoints.py --bases hf original Qwen2.5-VL --part 1/4
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import random
import shutil
import struct
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.isolated import Outcome, isolated

Change = Callable[[Path], None]

SLOW = 20.0
"""Seconds within which anything must have been said."""

LARGE = 2**30
"""Bytes beyond which a refusal or an answer took too much memory; the checkpoints have 1 MB."""

MISSING = object()
ODD: tuple[Any, ...] = (
    *(MISSING, None, "no-such-thing", True, -1, 0, 1.5, float("nan")),
    *(10**6, 10**9, 2**63, 10**40, [], {"a": 1}),
)
"""What a field may hold instead of what it should."""

JSON_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
)


@dataclass(frozen=True)
class Damage:
    """One way to damage a copy of a checkpoint."""

    name: str
    apply: Change


def fields(content: Any, path: tuple[str, ...] = (), depth: int = 4) -> Iterator[tuple[str, ...]]:
    """The paths of all fields of nested objects, but for the entries of vocabularies."""
    if not isinstance(content, dict) or depth == 0 or len(content) > 200:
        return
    for key, value in content.items():
        yield (*path, key)
        yield from fields(value, (*path, key), depth - 1)


def json_damages(folder: Path, files: tuple[str, ...] = JSON_FILES) -> Iterator[Damage]:
    """Every field of every JSON file, with every odd value."""
    for name in files:
        if not (folder / name).is_file():
            continue
        yield Damage(f"{name} missing", lambda at, name=name: (at / name).unlink())
        for label, text in (("empty", ""), ("cut", None), ("list", "[]"), ("deep", "[" * 10**5)):
            yield Damage(f"{name} {label}", _as_text(name, text))
        for path in fields(json.loads((folder / name).read_text())):
            for value in ODD:
                shown = "missing" if value is MISSING else repr(value)
                yield Damage(f"{name} {'.'.join(path)} = {shown}", _with_field(name, path, value))


def _as_text(name: str, text: str | None) -> Change:
    def apply(folder: Path) -> None:
        whole = (folder / name).read_text()
        (folder / name).write_text(whole[: len(whole) // 2] if text is None else text)

    return apply


def _with_field(name: str, path: tuple[str, ...], value: Any) -> Change:
    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        if value is MISSING:
            del inner[path[-1]]
        else:
            inner[path[-1]] = copy.deepcopy(value)
        (folder / name).write_text(json.dumps(content))

    return apply


def weight_damages(folder: Path, count: int, seed: int = 0) -> Iterator[Damage]:
    """Files of weights cut off anywhere, with bits flipped in the header, or lengthened."""
    chance = random.Random(seed)
    for file in sorted(folder.iterdir()):
        if file.suffix not in (".safetensors", ".bin"):
            continue
        size = file.stat().st_size
        head = size
        if file.suffix == ".safetensors":
            (length,) = struct.unpack("<Q", file.read_bytes()[:8])
            head = 8 + length
        cuts = {0, 1, 7, 8, 9, head - 1, head, head + 1, size - 1}
        cuts |= {chance.randrange(size) for _ in range(count // 4)}
        for cut in sorted(cuts):
            yield Damage(f"{file.name} cut at {cut}", _cut(file.name, cut))
        for number in range(count):
            place, bit = chance.randrange(head), chance.randrange(8)
            yield Damage(f"{file.name} bit {place}.{bit} ({number})", _flip(file.name, place, bit))
        yield Damage(f"{file.name} longer", _longer(file.name))
        yield Damage(f"{file.name} a folder", _folder(file.name))
        yield Damage(f"{file.name} a pipe", _pipe(file.name))


def _cut(name: str, size: int) -> Change:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:size])

    return apply


def _flip(name: str, place: int, bit: int) -> Change:
    def apply(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[place] ^= 1 << bit
        (folder / name).write_bytes(data)

    return apply


def _longer(name: str) -> Change:
    def apply(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(b"\0" * 100)

    return apply


def _folder(name: str) -> Change:
    def apply(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return apply


def _pipe(name: str) -> Change:
    def apply(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return apply


def index_damages(folder: Path) -> Iterator[Damage]:
    """Indexes that name files elsewhere, or hold something else than names."""
    weights = [file for file in folder.iterdir() if file.suffix in (".safetensors", ".bin")]
    stem, suffix = ("model", "safetensors")
    if all(file.suffix == ".bin" for file in weights):
        stem, suffix = ("pytorch_model", "bin")
    name = f"{stem}.{suffix}.index.json"
    first = weights[0].name

    def write(content: Any) -> Change:
        def apply(folder: Path) -> None:
            (folder / f"{stem}.{suffix}").unlink(missing_ok=True)
            (folder / name).write_text(json.dumps(content))

        return apply

    outside = folder / first
    for value in (
        *ODD[1:],
        f"../{first}",
        str(outside),
        "a/b",
        "..",
        ".",
        "C:\\x",
        "\0",
        "x" * 5000,
    ):
        yield Damage(f"index to {str(value)[:30]!r}", write({"weight_map": {"a": value}}))
        yield Damage(f"index of {str(value)[:30]!r}", write({"weight_map": value}))
    yield Damage("index without a map", write({}))


def ask(folder: Path) -> list[int]:
    """Load a checkpoint and have it write a few tokens."""
    import secondsight
    from support.images import make_image

    warnings.simplefilter("ignore")
    model = secondsight.load(folder, device="cpu")
    answer = model.answer(make_image(1), "Is there a dog in the image?", max_new_tokens=8)
    return list(answer.ids)


def damaged(folder: Path, damage: Damage, trial: Callable[[Path], Any] = ask) -> Outcome:
    """What becomes of a copy with one damage."""
    with tempfile.TemporaryDirectory() as place:
        whole = Path(shutil.copytree(folder.parent, Path(place) / "copy")) / folder.name
        damage.apply(whole)
        return isolated(lambda: trial(whole))


BASES = ("hf", "original", "safetensors")


def write_base(name: str, place: Path) -> Path:
    """Write a whole checkpoint: `BASES`, or a family by its name in ``tests/families``."""
    from families.builders import FAMILIES
    from support.original import write_original
    from support.tiny import write_tiny

    if name in FAMILIES:
        built = FAMILIES[name]()
        built.model.save_pretrained(place / "family")
        built.processor.save_pretrained(place / "family")
        return place / "family"
    if name == "hf":
        return write_tiny(place / "llava", image=42, kv_heads=2)
    with tempfile.TemporaryDirectory() as source:
        tiny = write_tiny(Path(source) / "llava", image=42, kv_heads=2)
        kind = "bin" if name == "original" else name
        return write_original(tiny, place, kind=kind)


def judge(outcome: Outcome, whole: Outcome) -> str:
    """What an outcome counts as."""
    if outcome.kind == "refused":
        kind = "refused" if "\n" not in outcome.text else "refused in many lines"
    elif outcome.kind == "answered":
        kind = "answered alike" if outcome.text == whole.text else "answered otherwise"
    else:
        kind = outcome.kind
    if outcome.seconds > SLOW or outcome.memory > LARGE:
        kind += ", slow" if outcome.seconds > SLOW else ", large"
    return kind


def main() -> None:
    """Damage every base in every way, and count."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bases", nargs="+", default=list(BASES))
    parser.add_argument("--flips", type=int, default=200, help="bit flips per file of weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", default="1/1", help="k/n: every n-th damage from the k-th on")
    parser.add_argument("--only", default="", help="damages whose name contains this")
    parser.add_argument("--out", type=Path, help="a JSON line per damage that is not refused well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    part, parts = map(int, options.part.split("/"))
    total: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(options.out.open("w")) if options.out else sys.stdout
        for base in options.bases:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            folder = write_base(base, place)
            ask(folder)  # so that children find everything imported
            whole = isolated(lambda folder=folder: ask(folder))
            damages = [
                *json_damages(folder),
                *index_damages(folder),
                *weight_damages(folder, options.flips, options.seed),
            ]
            counts: Counter[str] = Counter()
            for damage in damages[part - 1 :: parts]:
                if options.only not in damage.name:
                    continue
                outcome = damaged(folder, damage)
                kind = judge(outcome, whole)
                counts[kind] += 1
                if kind not in ("refused", "answered alike"):
                    line = {"base": base, "damage": damage.name, **vars(outcome), "kind": kind}
                    print(json.dumps(line), file=out, flush=True)
            print(base, sum(counts.values()), dict(counts), file=sys.stderr, flush=True)
            total += counts
    print("all", sum(total.values()), dict(total), file=sys.stderr)


if __name__ == "__main__":
    main()
