"""``secondsight doctor``: what is installed, what the machine has, and what would run on it."""

from __future__ import annotations

import json
import platform
import time
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import typer
from rich.table import Table

from secondsight.cli.options import AsJson
from secondsight.cli.output import quiet, stderr, stdout
from secondsight.errors import UserError, shown
from secondsight.installed import problems, tokenizer_clash

PACKAGES: Final = (
    "secondsight",
    "torch",
    "torchvision",
    "transformers",
    "accelerate",
    "safetensors",
    "tokenizers",
    "sentencepiece",
    "protobuf",
    "pillow",
    "numpy",
)

IMPORTED: Final = ("torch", "torchvision", "transformers")
"""Those whose installations break: a wheel of another CUDA, half an upgrade."""

MODELS: Final = (
    ("LLaVA-1.5-7B", "bfloat16", 7.06e9 * 2),
    ("LLaVA-1.5-7B", "float32", 7.06e9 * 4),
    ("LLaVA-1.5-13B", "bfloat16", 13.35e9 * 2),
)
"""Models people ask for, and the bytes of their weights."""

ROOM: Final = 2e9
"""Bytes beside the weights: the views' caches, activations, the libraries."""


def doctor(as_json: AsJson = False) -> None:
    """What is installed, what this machine has, and what would run on it.

    [bold]Examples[/bold]

      [cyan]secondsight doctor[/cyan]
      [cyan]secondsight doctor --json[/cyan]        to paste into a bug report
    """
    with suppress(ImportError):
        quiet()
    with stderr().status("Looking around ..."):
        devices = _devices()
        report = {
            "versions": _versions(),
            "platform": platform.platform(),
            "devices": devices,
            "problems": _problems(),
            "hub_cache": _hub_cache(),
            "bundled_model": _bundled(),
            "would_run": [_fits(*model, devices) for model in MODELS],
        }
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        _show(report)


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _problems() -> list[str]:
    found = list(problems())
    for package in IMPORTED:
        try:
            import_module(package)
        except Exception as error:  # whatever a broken installation raises
            found.append(f"{package} cannot be imported: {shown(error, 300)}")
    return [*found, *filter(None, [tokenizer_clash()])]


def _devices() -> list[dict[str, Any]]:
    import psutil

    try:
        import torch

        from secondsight.devices import free_bytes
    except Exception:  # it is among the problems
        return []
    memory = psutil.virtual_memory()
    devices = [
        {
            "name": "cpu",
            "what": f"{psutil.cpu_count(logical=True)} processors, torch uses "
            f"{torch.get_num_threads()} threads",
            "memory": memory.total,
            "free": memory.available,
        }
    ]
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        devices.append(
            {
                "name": f"cuda:{index}",
                "what": torch.cuda.get_device_name(index),
                "memory": total,
                "free": free,
            }
        )
    if torch.backends.mps.is_available():
        free = free_bytes(torch.device("mps"))
        total = torch.mps.recommended_max_memory()
        devices.append({"name": "mps", "what": "Apple's GPU", "memory": total, "free": free})
    return devices


def _hub_cache() -> dict[str, Any]:
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return {"folder": None, "models": []}

    folder = Path(HF_HUB_CACHE)
    models = [path.name for path in folder.glob("models--*")] if folder.is_dir() else []
    names = (name.removeprefix("models--").replace("--", "/") for name in models)
    home = str(Path.home())  # left out, because reports are pasted into public places
    return {"folder": str(folder).replace(home, "~", 1), "models": sorted(names)}


def _bundled() -> dict[str, Any]:
    start = time.perf_counter()
    try:
        from secondsight.checkpoints import load

        model = load()
    except (UserError, ImportError) as error:
        return {"loads": False, "seconds": None, "parameters": None, "error": str(error)}
    return {
        "loads": True,
        "seconds": time.perf_counter() - start,
        "parameters": sum(one.numel() for one in model.hf_model.parameters()),
        "error": None,
    }


def _fits(name: str, dtype: str, weights: float, devices: list[dict[str, Any]]) -> dict[str, Any]:
    needs = weights + ROOM
    return {
        "model": name,
        "dtype": dtype,
        "needs": int(needs),
        "on": [device["name"] for device in devices if device["free"] >= needs],
    }


def _show(report: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, found in report["versions"].items():
        table.add_row(name, found or "not installed")
    table.add_row("platform", report["platform"])
    for problem in report["problems"]:
        table.add_row("problem", problem, style="red")
    for device in report["devices"]:
        table.add_row(
            device["name"],
            f"{device['what']}; {_gb(device['free'])} of {_gb(device['memory'])} free",
        )
    cache = report["hub_cache"]
    table.add_row("hub cache", f"{cache['folder']}: {', '.join(cache['models']) or 'no models'}")
    bundled = report["bundled_model"]
    table.add_row(
        "bundled model",
        f"{bundled['parameters'] / 1e6:.1f} million parameters, loads in {bundled['seconds']:.1f} s"
        if bundled["loads"]
        else f"does not load: {bundled['error']}",
    )
    for model in report["would_run"]:
        places = ", ".join(model["on"])
        table.add_row(
            model["model"],
            f"in {model['dtype']} needs {_gb(model['needs'])}: "
            + (f"fits on {places}{_patience(model['on'])}" if places else "does not fit here"),
        )
    stdout().print(table, highlight=False, markup=False)


def _patience(places: list[str]) -> str:
    return ", at a second or more per token" if places == ["cpu"] else ""


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
