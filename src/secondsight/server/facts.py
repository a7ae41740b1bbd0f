"""What the server says of itself."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from secondsight import __version__
from secondsight.server import scenes
from secondsight.server.names import DEFAULTS
from secondsight.server.service import Service


def server_facts(service: Service) -> dict[str, Any]:
    """What the page wants to know of the server."""
    config, backend = service.config, service.backend
    limits = config.limits
    return {
        "object": "secondsight.server",
        "version": __version__,
        "model": config.name,
        "fingerprint": fingerprint(service),
        "facts": None if backend is None else {**backend.facts(), "model": config.name},
        "context_length": None if backend is None else backend.context_length,
        "defaults": dict(DEFAULTS),
        "limits": {
            "images": limits.images,
            "image_bytes": limits.image_bytes,
            "pixels": limits.pixels,
            "choices": limits.choices,
            "new_tokens": limits.new_tokens,
            "trace_tokens": limits.trace_tokens,
        },
        "scenes": scenes.COUNT,
        "fetches_images": service.fetch is not None,
    }


def fingerprint(service: Service) -> str:
    """Tells one model, in one precision, by one version of secondsight from others."""
    facts = {} if service.backend is None else dict(service.backend.facts())
    text = json.dumps({**facts, "version": __version__}, sort_keys=True, default=str)
    return "ss_" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
