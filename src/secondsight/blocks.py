"""What the C library does with memory that is given back."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

_M_MMAP_THRESHOLD: Final = -3  # of malloc.h
_LARGE: Final = 2 * 2**20


def return_large_blocks() -> None:
    """Have glibc give blocks of 2 MB and more back to the system as soon as they are free.

    Left to itself it comes to keep all that are smaller than 32 MB. In a process that opens images
    in several threads, or reads prompts of many lengths, they leave holes that few others fit in,
    and it grows.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
