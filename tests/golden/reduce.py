"""Make `data/` from the full recordings: ``python -m golden.reduce FULL_RECORDINGS`` in tests/.

Kept of every run: its tokens, what the method decided at each step, and logits at a few ids. Runs
of one setting are stacked in one file, so an array has a leading dimension of runs.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

DATA: Final = Path(__file__).parent / "data"
TOP, PROBES, HIDDEN, WHOLE = 16, 8, 8, 64
"""Kept of the 64 best ids, of the 64 fixed ones, and of a hidden state; every how many of all."""

_AT_TOP: Final = ("top_ids", "base_top", "branch_top", "scores_top", "aug_top")
_AT_PROBES: Final = ("base_probe", "branch_probe", "diffs_probe")
_DROPPED: Final = {
    *("diffs_top", "branch_hidden", "hidden_all", "vision_hidden", "n_finite"),
    *("column_scores", "input_ids_cd", "branch_is_base_from_step1"),
}
_NO_SETTING: Final = {
    *("images", "images_pos", "images_neg", "images_cd", "prompt_cd", "input_ids_cd", "top_k"),
    *("img_start_idx", "img_end_idx", "key_position", "blind_tokens", "layers_used", "kept_step0"),
    *("threshold_gap", "layer_gap", "min_kept_gap", "branch_equals_base_after_first_token"),
}
_WIDEST: Final = 64
"""An array of more values a step is dropped (divergences of 576 image tokens)."""


def _reduced(name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    if name in _DROPPED or (name == "js_divs" and array.shape[-1] > _WIDEST):
        return None
    if name in _AT_TOP:
        array = array[:, :TOP]
    elif name in _AT_PROBES:
        array = array[:, :PROBES]
    elif name == "base_hidden":
        array = array[:, :HIDDEN]
    if array.dtype.kind in "iu":
        small = array.astype(np.int16)  # ids are below 32000
        assert (small == array).all()
        return small
    return array


def _settings(folder: Path) -> dict[str, list[str]]:
    """The runs of every setting: ``{"pai": ["p0_i0_greedy", ...]}``."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*_p[01]_i[01]*.npz")):
        if path.stem.startswith("full_"):
            continue
        setting, _, run = path.stem.rpartition("_p")
        found.setdefault(setting, []).append("p" + run)
    return found


def _stack(folder: Path, setting: str, runs: list[str], target: Path) -> None:
    """One file for all runs of a setting; arrays whose shape differs are stored run by run."""
    read = [dict(np.load(folder / f"{setting}_{run}.npz")) for run in runs]
    arrays: dict[str, np.ndarray[Any, Any]] = {"runs": np.array(runs)}
    for name in dict.fromkeys(name for one in read for name in one):
        kept = [_reduced(name, one[name]) if name in one else None for one in read]
        alike = len({None if one is None else one.shape for one in kept}) == 1
        if alike and kept[0] is not None:
            arrays[name] = np.stack([one for one in kept if one is not None])
        elif not alike:
            for run, one in zip(runs, kept, strict=True):
                if one is not None:
                    arrays[f"{name}@{run}"] = one
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target, **arrays)


def _whole(folder: Path, method: str, target: Path) -> None:
    """Of three steps over the whole vocabulary: every 64th logit, and everything that is kept."""
    full = np.load(folder / f"full_{method}_p0_i0_greedy.npz")
    arrays = {"base": full["base"][:, ::WHOLE]}
    for step, scores in enumerate(full["scores"]):
        kept = np.isfinite(scores)
        ids = np.flatnonzero(kept) if kept.sum() < 1000 else np.arange(0, len(scores), WHOLE)
        arrays |= {f"ids_{step}": ids.astype(np.int16), f"scores_{step}": scores[ids]}
        arrays[f"count_{step}"] = np.array(kept.sum())
    np.savez_compressed(target, **arrays)


def _json(path: Path, content: dict[str, Any]) -> None:
    """One entry a line, two levels deep, so that a change can be read."""

    def lines(value: Any, depth: int) -> str:
        if not isinstance(value, dict) or depth == 0 or not value:
            return json.dumps(value, ensure_ascii=False)
        inner = (f"{json.dumps(key)}: {lines(one, depth - 1)}" for key, one in value.items())
        return "{\n" + ",\n".join(inner) + "\n}"

    path.write_text(lines(content, 3) + "\n")


def _hashes(source: Path) -> dict[str, dict[str, str]]:
    files = {
        "tiny": "ckpt/tensor_sha256.json",
        "tiny12": "methods/opera/tensor_sha256.json",
        "views": "methods/attention/tensor_sha256_llava-deep-views.json",
        "deep": "methods/layer/deep_tensor_sha256.json",
        "deep32": "methods/layer/deep32_tensor_sha256.json",
    }
    found = {}
    for preset, file in files.items():
        groups = json.loads((source / file).read_text())
        found[preset] = {
            name: entry["sha256"]
            for group in groups.values()
            for name, entry in group.items()
            if not name.endswith(("inv_freq", "position_ids"))  # formulas, not recorded data
        }
    return found


def _meta(source: Path) -> dict[str, Any]:
    read = {
        name: json.loads((source / folder / "meta.json").read_text())
        for name, folder in (
            ("decoding", "decoding"),
            ("layer", "methods/layer"),
            ("attention", "methods/attention"),
            ("opera", "methods/opera"),
        )
    }
    main = read["decoding"]
    meta: dict[str, Any] = {
        "prompts": main["prompts"],
        "full_prompts": main["full_prompts"],
        "input_ids": main["input_ids"],
        "probe_ids": main["probe_ids"][:PROBES],
        "settings": {},
        "sampling": {},
        "disturbed": {},
        "beams": {},
    }
    for kind, one in read.items():
        settings = meta["settings"].setdefault(kind, {})
        for name, run in one["runs"].items():
            setting, _, rest = name.rpartition("_p")
            known = dict(run.get("settings") or run.get("kwargs") or {})
            warpers = {key: known.pop(key) for key in ("temperature", "top_p") if key in known}
            if kind == "layer" and warpers:
                meta["sampling"][setting] = warpers
            if "input_ids_cd" in known:  # the ids of the disturbed prompt, recorded
                meta["disturbed"].setdefault(
                    setting, {"prompt": known["prompt_cd"], "ids": known["input_ids_cd"]}
                )
            settings.setdefault(
                setting, {key: value for key, value in known.items() if key not in _NO_SETTING}
            )
            if kind == "opera":
                keep = ("tokens", "hypotheses", "iterations", "rollbacks")
                meta["beams"][f"{setting}_p{rest}"] = {key: run[key] for key in keep}
    return meta


def main(source: Path) -> None:
    """Write everything but `pieces.json` and `specs.json`, which were written by hand."""
    folders = {
        "decoding": source / "decoding",
        **{name: source / "methods" / name for name in ("layer", "attention", "opera")},
    }
    for kind, folder in folders.items():
        for setting, runs in _settings(folder).items():
            _stack(folder, setting, runs, DATA / kind / f"{setting}.npz")
    for method in ("regular", "ritual", "vcd", "m3id"):
        _whole(source / "decoding", method, DATA / "decoding" / f"whole_{method}.npz")
    inputs = dict(np.load(source / "decoding" / "inputs.npz"))
    for image in (0, 1):
        features = np.load(source / "methods" / "layer" / f"n32_features_{image}.npz")
        (only,) = features.files
        inputs[f"projected_features_336_{image}"] = features[only]
    np.savez_compressed(DATA / "inputs.npz", **inputs)
    (DATA / "images").mkdir(exist_ok=True)
    for path in sorted((source / "images").glob("*.png")):
        shutil.copy(path, DATA / "images" / path.name)
    _json(DATA / "hashes.json", _hashes(source))
    _json(DATA / "meta.json", _meta(source))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
