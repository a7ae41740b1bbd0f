"""Measure the server: clients at once against the same requests one by one, and other servers.

    python tools/serving.py                 # secondsight serve, the bundled model
    python tools/serving.py --transformers  # the same requests to `transformers serve` as well
    python tools/serving.py --shape 1b      # a model of that shape in bfloat16, random weights

Every request is a caption of another image. Servers run as processes of their own; this one sends
and measures. Seconds are by the clock, CPU seconds are the server's. With ``--write`` the table
goes into docs/serving.md as well.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import re
import shutil
import socket
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
from secondsight.profiling import random_model
from secondsight.profiling.shapes import SHAPES
from secondsight.prompts import template

QUESTION = "Describe this image in detail."
CLIENTS = (1, 8, 32)
DOCS = Path(__file__).resolve().parents[1] / "docs" / "serving.md"


@dataclass(frozen=True)
class Load:
    """How much is asked for.

    Attributes:
        tokens: The longest answer.
        requests: How many requests the clients share, by the number of clients.
        others: The most clients that another server gets.
    """

    tokens: int
    requests: dict[int, int]
    others: int


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


PORT = free_port()
LOADS = {
    "bundled": Load(64, {1: 32, 8: 32, 32: 32}, 32),
    "1b": Load(12, {1: 3, 8: 8, 32: 32}, 32),
}


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


def images(count: int) -> list[Image.Image]:
    """As many different images as there are requests."""
    shipped = secondsight.images.open_image(secondsight.images.demo_image())
    return [shipped.rotate(4 * number, fillcolor="white") for number in range(count)]


def bodies(
    model: str, method: str | None, pictures: list[Image.Image], tokens: int
) -> list[dict[str, Any]]:
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
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        made.append(body | ({"method": method} if method else {}))
    return made


def alone(model: secondsight.Model, method: str, pictures: list[Image.Image], longest: int) -> Run:
    """The same requests by `model.answer`, one after the other."""
    model.answer(pictures[0], "Is it?", method, max_new_tokens=2)
    whole, tokens = [], 0
    before, start = psutil.Process().cpu_times(), time.perf_counter()
    for picture in pictures:
        model.prefixes.clear()
        one = time.perf_counter()
        tokens += len(model.answer(picture, QUESTION, method, max_new_tokens=longest).ids)
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
                    chunk = json.loads(line[6:])
                    tokens += (chunk.get("usage") or {}).get("completion_tokens", 0)
                    said = any(one["delta"].get("content") for one in chunk.get("choices", []))
                    if said and not begun:
                        first.append(time.perf_counter() - start)
                        begun = True
            whole.append(time.perf_counter() - start)

    before, start = process.cpu_times(), time.perf_counter()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{PORT}", timeout=3600, trust_env=False
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
    load: Load,
    most: int = max(CLIENTS),
) -> list[str]:
    """Measure one server; every number of clients gets a fresh one, which has seen no image."""
    rows = []
    for count in (one for one in CLIENTS if one <= most):
        server = start(command, ready)
        try:
            process = psutil.Process(server.pid)
            asyncio.run(served([{**asked[0], "max_tokens": 2}], 1, process))
            run = asyncio.run(served(asked[-load.requests[count] :], count, process))
            rows.append(run.row(who, str(count)))
            print(rows[-1], flush=True)
        finally:
            server.terminate()
            server.wait(60)
    return rows


def added(
    model: secondsight.Model, command: list[str], asked: list[dict[str, Any]], load: Load
) -> str:
    """What a served answer takes longer than `model.answer`, the two in turns."""
    longer = []
    server = start(command, "/ready")
    try:
        process = psutil.Process(server.pid)
        asyncio.run(served([{**asked[0], "max_tokens": 2}], 1, process))
        for picture, body in zip(images(load.requests[1]), asked, strict=False):
            alone_run = alone(model, "regular", [picture], load.tokens)
            run = asyncio.run(served([body], 1, process))
            longer.append(1000 * (run.whole[0] - alone_run.whole[0]))
    finally:
        server.terminate()
        server.wait(60)
    low, middle, high = statistics.quantiles(longer, n=4)
    return (
        f"One regular answer takes {middle:.0f} ms longer from the server, PNG and base64 "
        f"included, than from `model.answer` (in turns, median of {len(longer)}; quartiles "
        f"{low:.0f} and {high:.0f})."
    )


CHAT_TEMPLATE = (
    "{% for m in messages %} USER: {% for p in m['content'] %}"
    "{% if p['type'] != 'text' %}<image>\n{% endif %}{% endfor %}{% for p in m['content'] %}"
    "{% if p['type'] == 'text' %}{{ p['text'] }}{% endif %}{% endfor %}{% endfor %} ASSISTANT:"
)


def checkpoint(shape: str, parent: Path) -> Path:
    """A checkpoint with a chat template beside it, which `transformers serve` needs."""
    folder = parent / shape
    shutil.copytree(bundled_folder(), folder)
    if shape != "bundled":
        _random_checkpoint(shape, folder)
    system = template("llava_v1").system
    (folder / "chat_template.jinja").write_text(system + CHAT_TEMPLATE)
    return folder


def _random_checkpoint(shape: str, folder: Path) -> None:
    """Random weights of a shape, and the bundled tokenizer with as many words as they have."""
    made, sizes = random_model(shape), SHAPES[shape]
    tokenizer = made.tokenizer
    words = made.hf_model.config.text_config.vocab_size
    tokenizer.add_tokens([f" w{number}" for number in range(len(tokenizer), words)])
    made.hf_model.config.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    made.hf_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name, changes in (
        (
            "preprocessor_config.json",
            {"size": {"shortest_edge": sizes.image}, "crop_size": sizes.image},
        ),
        ("processor_config.json", {"patch_size": sizes.patch}),
    ):
        known = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(known | changes))


def write(shape: str, table: str) -> None:
    """Put a table into the document, between its marks."""
    text = DOCS.read_text(encoding="utf-8")
    marks = re.compile(rf"(<!-- {shape} -->\n).*?(<!-- end -->)", re.DOTALL)
    DOCS.write_text(marks.sub(lambda found: found[1] + table + found[2], text), encoding="utf-8")


def main() -> None:
    """Measure."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--transformers", action="store_true")
    arguments.add_argument("--methods", default="regular,ritual")
    arguments.add_argument("--shape", default="bundled", choices=LOADS)
    arguments.add_argument("--write", action="store_true")
    chosen = arguments.parse_args()
    load = LOADS[chosen.shape]
    pictures = images(max(load.requests.values()))
    rows = [
        "| server | clients | requests/s | tokens/s | first token ms | whole ms | CPU s/request |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    methods = chosen.methods.split(",")
    with tempfile.TemporaryDirectory() as parent:
        folder = checkpoint(chosen.shape, Path(parent))
        model = secondsight.load(folder)
        for method in methods:
            run = alone(model, method, pictures[-load.requests[1] :], load.tokens)
            rows.append(run.row(f"`model.answer`, {method}", "none"))
            print(rows[-1], flush=True)
        own = [sys.executable, "-m", "secondsight", "serve", "-m", str(folder)]
        own += ["--port", str(PORT), "--batch-size", "32", "--served-name", "measured"]
        own += ["--deadline", "3600"]  # so long do many wait for a large model on few cores
        extra = added(model, own, bodies("measured", "regular", pictures, load.tokens), load)
        print(extra, flush=True)
        del model
        for method in methods:
            asked = bodies("measured", method, pictures, load.tokens)
            rows += measure_server(own, "/ready", f"secondsight, {method}", asked, load)
        if chosen.transformers:
            other = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder)]
            other += ["--port", str(PORT)]
            asked = bodies(str(folder), None, pictures, load.tokens)
            who = "`transformers serve`, regular"
            rows += measure_server(other, "/health", who, asked, load, load.others)
    if chosen.write:
        write(chosen.shape, "\n".join([*rows, "", extra, ""]))


if __name__ == "__main__":
    main()
