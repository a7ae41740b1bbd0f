"""``secondsight serve`` as a process: it answers, drains at SIGTERM, and says what is wrong."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from secondsight.cli.main import app


def start(*options: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "secondsight", "serve", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200", "SECONDSIGHT_API_KEY": "", **environment},
    )


def test_serve_and_stop(tiny_llava: Path) -> None:
    server = start("--port", "0", "-m", str(tiny_llava), SECONDSIGHT_API_KEY="correct-horse")
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        headers = {"authorization": "Bearer correct-horse"}
        with httpx.Client(base_url=found[0], headers=headers, trust_env=False) as client:
            deadline = time.monotonic() + 120
            while client.get("/ready").status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            messages = [{"role": "user", "content": "What is it?"}]
            body = {"model": "llava", "messages": messages, "max_tokens": 3}
            assert client.post("/v1/chat/completions", json=body, timeout=60).status_code == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        rest = server.stdout.read()
        assert "status=200" in rest
        assert "Traceback" not in rest
        assert "What is it" not in rest
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def logs_as_before() -> Iterator[None]:
    """What the command sets up for its log, in this process, is taken back."""
    loggers = [logging.getLogger(name) for name in ("secondsight.server", "uvicorn.error")]
    before = [(one, list(one.handlers), one.level, one.propagate) for one in loggers]
    yield
    for one, handlers, level, propagate in before:
        one.handlers[:], one.propagate = handlers, propagate
        one.setLevel(level)


@pytest.mark.usefixtures("logs_as_before")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "is open to other machines"),
        (["--api-key", "short"], "at least 8"),
        (["--batch-size", "0"], "--batch-size"),
        (["--max-tokens", "0"], "--max-tokens"),
        (["--port", "0", "-m", "/nowhere/at/all"], "/nowhere/at/all"),
    ],
    ids=str,
)
def test_what_cannot_be_served(options: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["serve", *options])
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.output.split())
