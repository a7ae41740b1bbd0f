"""What a server allows, and how much of it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from secondsight.errors import UserError

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
"""Under these names a browser on the same machine reaches a server that is bound to loopback."""

MEGABYTE: Final = 2**20


@dataclass(frozen=True)
class Limits:
    """How much a client may ask for; each is checked before memory is spent on it.

    Attributes:
        body: The longest request body, in bytes.
        bodies: All bodies that are being read or waiting at once, in bytes.
        body_seconds: How long a body may take to arrive, in seconds.
        images: Images per request.
        image_bytes: The largest image file, in bytes.
        pixels: The largest image, in pixels.
        side: The longest side of an image, in pixels: models pad images to squares, and so much
            memory does a narrow one take as well.
        request_pixels: All images of a request, in pixels.
        total_pixels: All images of all requests that are open at once, in pixels; the others
            wait until those are prepared. The one trace that is made at a time comes on top.
        choices: The largest `n`, and the most methods in one comparison.
        new_tokens: The longest answer; more is cut to it.
        trace_tokens: The longest answer that is traced.
        traces: Traces that run or wait at once.
        helpers: Whether clients may ask for methods that load another model, which takes time,
            memory, and the network where it was never fetched.
    """

    body: int = 32 * MEGABYTE
    bodies: int = 128 * MEGABYTE
    body_seconds: float = 30.0
    images: int = 8
    image_bytes: int = 20 * MEGABYTE
    pixels: int = 12_600_000
    side: int = 6000
    request_pixels: int = 12_600_000
    total_pixels: int = 12_600_000
    choices: int = 16
    new_tokens: int = 4096
    trace_tokens: int = 128
    traces: int = 4
    helpers: bool = False


@dataclass(frozen=True)
class ServerConfig:
    """How a server is run.

    Attributes:
        name: The model's name, as clients ask for it.
        host: The address that it listens at.
        port: The port; 0 for a free one.
        places: How many answers are written at once (``--batch-size``).
        queue: How many more may wait.
        keys: API keys, any of which opens the server; none for a server that is open.
        hosts: Names under which it may be asked for besides its own; ``*`` for any.
        origins: Origins of web pages that may use it; CORS is off without.
        media_domains: Domains from which images are fetched; none without.
        deadline: Seconds that a request may take in all.
        grace: Seconds that running requests get to finish when the server is told to stop.
        exposed: Whether listening beyond loopback without a key was asked for.
        limits: What a client may ask for.

    Raises:
        UserError: An address that cannot be, or one that is open to others without a key.
    """

    name: str
    host: str = "127.0.0.1"
    port: int = 8000
    places: int = 8
    queue: int = 64
    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    media_domains: tuple[str, ...] = ()
    deadline: float = 600.0
    grace: float = 30.0
    exposed: bool = False
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not self.local and not self.keys and not self.exposed:
            raise UserError(
                f"--host {self.host} is open to other machines. Give --api-key (or the "
                "environment variable SECONDSIGHT_API_KEY), or --no-key if that is meant."
            )
        if any(len(key) < 8 or key != key.strip() or not key.isascii() for key in self.keys):
            raise UserError("An API key needs at least 8 plain characters and no blanks around it.")
        if not 0 <= self.port < 65536:
            raise UserError(f"--port must be between 0 and 65535, not {self.port}.")
        for option, value, low in (
            ("--batch-size", self.places, 1),
            ("--queue", self.queue, 0),
            ("--deadline", self.deadline, 1),
            ("--grace", self.grace, 0),
        ):
            if value < low:
                raise UserError(f"{option} must be at least {low}, not {value}.")
        for origin in self.origins:
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
                raise UserError(
                    f"--allow-origin {origin!r} is no origin; one looks like https://example.org."
                )

    @property
    def local(self) -> bool:
        """Whether only this machine reaches the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def known_hosts(self) -> tuple[str, ...]:
        """Names that a Host header may hold; ``*`` where a key already keeps strangers out."""
        if self.keys and not self.hosts and not self.local:
            return ("*",)
        return (*LOOPBACK_NAMES, self.host, *self.hosts)
