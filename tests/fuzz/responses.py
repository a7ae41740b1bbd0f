"""Damaged HTTP responses: each is a body, or an ImageError of one line, in bounded time.

python tests/fuzz/responses.py --seconds 600
"""

from __future__ import annotations

import random
import socket
import sys
import threading
import time
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from tally import GOOD, REFUSED, SLOW, WRONG, Outcome, one_line, run

from secondsight.errors import ImageError
from secondsight.fetching import FetchPolicy, fetch

BODY = b"x" * 50
OK = b"HTTP/1.1 200 OK\r\n"
WITH_A_LENGTH = OK + b"content-length: 50\r\n\r\n" + BODY
RESPONSES = {
    "with a length": WITH_A_LENGTH,
    "in chunks": OK + b"transfer-encoding: chunked\r\n\r\n32\r\n" + BODY + b"\r\n0\r\n\r\n",
    "to the end": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    "redirect": b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    "continued": b"HTTP/1.1 100 Continue\r\n\r\n" + WITH_A_LENGTH,
    "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
}
PIECES = (b"\r\n", b"\0", b" ", b":", b"x" * 300, b"\xff", b"9" * 30, b"http://")
TIMEOUT_S = 3.0
_now = [b""]


@cache
def port() -> int:
    """A server that says what `_now` holds, and hangs up."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            with connection:
                try:
                    connection.settimeout(2)
                    connection.recv(65536)
                    connection.sendall(_now[0])
                except OSError:
                    pass  # the client has had enough

    threading.Thread(target=serve, daemon=True).start()
    return listening.getsockname()[1]


def damage(rng: random.Random, data: bytes) -> bytes:
    """Some bits, pieces more, pieces less, or the end cut off."""
    broken = bytearray(data)
    for _ in range(rng.choice([0, 1, 2, 4, 8])):
        place = rng.randrange(len(broken) + 1)
        kind = rng.choice(["bit", "bit", "more", "less", "cut"])
        if kind == "bit" and place < len(broken):
            broken[place] ^= 1 << rng.randrange(8)
        elif kind == "more":
            broken[place:place] = rng.choice(PIECES)
        elif kind == "less":
            del broken[place : place + rng.randrange(1, 10)]
        elif kind == "cut":
            del broken[place:]
    return bytes(broken)


def attempt(seed: int, number: int) -> Outcome:
    rng = random.Random(f"{seed} {number}")
    kind = rng.choice(list(RESPONSES))
    _now[0] = damage(rng, RESPONSES[kind])
    start = time.monotonic()
    try:
        fetch(f"http://127.0.0.1:{port()}/i", FetchPolicy(timeout_s=TIMEOUT_S))
        result = GOOD
    except ImageError as error:
        if fault := one_line(error):
            return Outcome(kind, WRONG, fault)
        result = REFUSED
    except BaseException as error:
        return Outcome(kind, WRONG, f"{type(error).__name__}: {str(error)[:80]}")
    if time.monotonic() - start > 2 * TIMEOUT_S:
        return Outcome(kind, SLOW)
    return Outcome(kind, result)


if __name__ == "__main__":
    sys.exit(run(attempt))
