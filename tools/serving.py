"""Measure the server: clients at once against the same requests one by one, and other servers.

    python tools/serving.py                      # secondsight serve, the bundled model
    python tools/serving.py --transformers       # the same requests to `transformers serve` as well

Every request is a caption of 64 tokens of another image. Servers run as processes of their own;
this one sends and measures. Seconds are by the clock, CPU seconds are the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

import secondsight
import secondsight.images
from secondsight.checkpoints.loading import bundled_folder
from secondsight.prompts import template

QUESTION = "Describe this image in detail."
TOKENS, REQUESTS, CLIENTS = 64, 32, (1, 8, 32)
PORT = 8765


@dataclass
class Run:
    """What a number of clients measured."""

    seconds: float
    cpu: float
    first: list[float]
    whole: list[float]
    tokens: int

    def row(self, who: str, clients: str) -> str:
        """A row of the table."""
        first = f"{1000 * statistics.median(self.first):.0f}" if self.first else ""
        count = len(self.whole)
        return (
            f"| {who} | {clients} | {count / self.seconds:.2f} | {self.tokens / self.seconds:.0f} "
            f"| {first} | {1000 * statistics.median(self.whole):.0f} | {self.cpu / count:.2f} |"
        )


def images() -> list[Image.Image]:
    """As many different images as there are requests."""
    shipped = secondsight.images.open_image(secondsight.images.demo_image())
    return [shipped.rotate(4 * number, fillcolor="white") for number in range(REQUESTS)]


def bodies(model: str, method: str | None, pictures: list[Image.Image]) -> list[dict[str, Any]]:
    """The requests."""
    made = []
    for picture in pictures:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        parts = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": QUESTION},
        ]
        body = {
            "model": model,
            "messages": [{"role": "user", "content": parts}],
            "max_tokens": TOKENS,
            "temperature": 0,
            "stream": True,
        }
        made.append(body | ({"method": method} if method else {}))
    return made


def alone(model: secondsight.Model, method: str, pictures: list[Image.Image]) -> Run:
    """The same requests by `model.answer`, one after the other."""
    model.answer(pictures[0], "Is it?", method, max_new_tokens=2)
    whole, tokens = [], 0
    before, start = psutil.Process().cpu_times(), time.perf_counter()
    for picture in pictures:
        model.prefixes.clear()
        one = time.perf_counter()
        tokens += len(model.answer(picture, QUESTION, method, max_new_tokens=TOKENS).ids)
        whole.append(time.perf_counter() - one)
    seconds, after = time.perf_counter() - start, psutil.Process().cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return Run(seconds, cpu, [], whole, tokens)


async def served(asked: list[dict[str, Any]], clients: int, process: psutil.Process) -> Run:
    """The requests by so many clients at once."""
    first: list[float] = []
    whole: list[float] = []
    tokens = 0
    left = list(asked)

    async def client(http: httpx.AsyncClient) -> None:
        nonlocal tokens
        while left:
            body, start, begun = left.pop(), time.perf_counter(), False
            async with http.stream("POST", "/v1/chat/completions", json=body) as response:
                if response.status_code != 200:
                    raise RuntimeError(await response.aread())
                async for line in response.aiter_lines():
                    if not line.startswith("data: {"):
                        continue
                    for choice in json.loads(line[6:]).get("choices", []):
                        if choice["delta"].get("content"):
                            tokens += 1
                            if not begun:
                                first.append(time.perf_counter() - start)
                                begun = True
            whole.append(time.perf_counter() - start)

    before, start = process.cpu_times(), time.perf_counter()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{PORT}", timeout=600, trust_env=False
    ) as http:
        await asyncio.gather(*(client(http) for _ in range(clients)))
    seconds, after = time.perf_counter() - start, process.cpu_times()
    return Run(
        seconds, after.user + after.system - before.user - before.system, first, whole, tokens
    )


def start(command: list[str], ready: str) -> subprocess.Popen[bytes]:
    """Start a server and wait until it is ready."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        time.sleep(0.5)
        if server.poll() is not None:
            raise RuntimeError(f"{command} ended")
        try:
            if httpx.get(f"http://127.0.0.1:{PORT}{ready}", trust_env=False).status_code == 200:
                return server
        except httpx.HTTPError:
            pass
    raise RuntimeError(f"{command} is not ready")


def measure_server(
    command: list[str],
    ready: str,
    who: str,
    asked: list[dict[str, Any]],
    clients: tuple[int, ...],
) -> None:
    """Measure one server; every number of clients gets a fresh one, which has seen no image."""
    for count in clients:
        server = start(command, ready)
        try:
            process = psutil.Process(server.pid)
            warm = {**asked[0], "max_tokens": 2}
            asyncio.run(served([warm], 1, process))
            print(asyncio.run(served(asked, count, process)).row(who, str(count)), flush=True)
        finally:
            server.terminate()
            server.wait(60)


def with_template(folder: Path) -> Path:
    """The bundled checkpoint with a chat template beside it, which `transformers serve` needs."""
    copy = Path(tempfile.mkdtemp()) / "bundled"
    shutil.copytree(folder, copy)
    system = template("llava_v1").system
    (copy / "chat_template.jinja").write_text(
        system + "{% for m in messages %} USER: {% for p in m['content'] %}"
        "{% if p['type'] != 'text' %}<image>\n{% endif %}{% endfor %}{% for p in m['content'] %}"
        "{% if p['type'] == 'text' %}{{ p['text'] }}{% endif %}{% endfor %}{% endfor %} ASSISTANT:"
    )
    return copy


def main() -> None:
    """Measure."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--transformers", action="store_true")
    arguments.add_argument("--methods", default="regular,ritual")
    chosen = arguments.parse_args()
    pictures = images()
    print(
        "| server | clients | requests/s | tokens/s | first token ms | whole ms | CPU s/request |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    model = secondsight.load()
    for method in chosen.methods.split(","):
        print(alone(model, method, pictures).row(f"`model.answer`, {method}", "none"), flush=True)
    del model
    own = [sys.executable, "-m", "secondsight", "serve", "--port", str(PORT), "--batch-size", "32"]
    for method in chosen.methods.split(","):
        asked = bodies("bundled", method, pictures)
        measure_server(own, "/ready", f"secondsight, {method}", asked, CLIENTS)
    if chosen.transformers:
        folder = str(with_template(bundled_folder()))
        command = [str(Path(sys.executable).parent / "transformers"), "serve", folder]
        command += ["--port", str(PORT)]
        asked = bodies(folder, None, pictures)
        measure_server(command, "/health", "`transformers serve`, regular", asked, CLIENTS[:2])


if __name__ == "__main__":
    main()
