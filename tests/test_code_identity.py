"""Whose code a class is."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

from secondsight.code_identity import code_hash, file_hash
from secondsight.methods import Ritual

SOURCE = "class Mine:\n    pass\n"


def test_own_code_needs_no_hash() -> None:
    assert code_hash(Ritual) is None


def test_a_file_is_hashed_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("mine_of_a_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mine_of_a_test"] = module
    try:
        spec.loader.exec_module(module)
        assert code_hash(module.Mine) == hashlib.sha256(SOURCE.encode()).hexdigest()
        path.write_text(SOURCE + "\n# changed\n")
        file_hash.cache_clear()
        assert code_hash(module.Mine) != hashlib.sha256(SOURCE.encode()).hexdigest()
    finally:
        del sys.modules["mine_of_a_test"]


def test_what_has_no_source_has_no_hash() -> None:
    made = type("Made", (), {"__module__": "nowhere_at_all"})
    assert code_hash(made) is None
