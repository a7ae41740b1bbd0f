"""The memory that a trace reports: the process's, and a GPU's as nvidia-smi prints it."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import psutil
import pytest
import torch

from secondsight.trace import Trace
from secondsight.trace.memory import memory

TABLE = "| 38%   34C    P8    21W /  350W |   17660MiB /  24576MiB | <0% & Default |"


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A GPU, as far as torch's counters go."""
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 5 * 2**30)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 6 * 2**30)
    return torch.device("cuda")


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program of that name before all others."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_on_a_cpu_it_is_the_process() -> None:
    found = memory(torch.device("cpu"))
    assert set(found) == {"process_bytes", "process_peak_bytes"}
    assert found["process_bytes"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert found["process_peak_bytes"] > 2**20


def test_without_posix_resource_psutil_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    found = memory(torch.device("cpu"))
    assert found["process_peak_bytes"] >= found["process_bytes"] * 0.8


def test_on_a_gpu_nvidia_smi_is_asked(
    card: torch.device, trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(tmp_path, monkeypatch, f"echo; echo '{TABLE}'; echo")
    found = memory(card)
    assert found["nvidia_smi"] == TABLE
    assert found["gpu_allocated_bytes"] == 5 * 2**30
    generation = dataclasses.replace(trace.generation, memory=found)
    seen = dataclasses.replace(trace, generation=generation)
    assert TABLE in seen.to_markdown()
    assert TABLE not in seen.to_html().split("<script")[0]
    assert "17660MiB /  24576MiB | &lt;0% &amp; Default" in seen.to_html()
    assert "gpu allocated 5.0 GiB" in seen.to_html()


@pytest.mark.parametrize("script", ["exit 9", "sleep 9"])
def test_a_driver_that_does_not_answer_is_left_out(
    card: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    nvidia_smi(tmp_path, monkeypatch, script)
    monkeypatch.setattr("secondsight.trace.memory.PATIENCE", 0.2)
    assert memory(card)["nvidia_smi"] is None


def test_no_driver_at_all(
    card: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert memory(card)["nvidia_smi"] is None
