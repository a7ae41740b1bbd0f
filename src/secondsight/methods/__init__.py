"""Decoding methods: one file each; a user's own registers the same way."""

from secondsight.methods.base import Method, parameter, plausibility
from secondsight.methods.combined import RitualM3ID, RitualVCD
from secondsight.methods.m3id import M3ID
from secondsight.methods.registry import controls, create, get, names, register, split
from secondsight.methods.regular import Greedy, Identity, Plausibility, Regular, Sharpened
from secondsight.methods.ritual import Ritual, RitualPlus
from secondsight.methods.vcd import VCD

__all__ = [
    "M3ID",
    "VCD",
    "Greedy",
    "Identity",
    "Method",
    "Plausibility",
    "Regular",
    "Ritual",
    "RitualM3ID",
    "RitualPlus",
    "RitualVCD",
    "Sharpened",
    "controls",
    "create",
    "get",
    "names",
    "parameter",
    "plausibility",
    "register",
    "split",
]
