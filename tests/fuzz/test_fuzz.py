"""The fuzzers' small part: the same tries each time, some seconds of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secondsight import UserError
from secondsight.cli.list_lines import read_list
from secondsight.methods import create, names
from support import process

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("script", "tries"), [("images.py", 1500), ("arguments.py", 1500), ("responses.py", 1500)]
)
def test_nothing_is_wrong(script: str, tries: int) -> None:
    done = process.run([sys.executable, HERE / script, "--tries", tries])
    assert done.returncode == 0, done.stdout + done.stderr


def check_message(error: UserError) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 1200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("image", "question", "id", "text", "question_id", "category", "other")


@given(
    lines=st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON | st.text(), max_size=3)
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lists_are_taken_or_refused_in_a_line(tmp_path: Path, lines: list[Any]) -> None:
    path = tmp_path / "list.jsonl"
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        entries = read_list(path, "What?")
    except UserError as error:
        check_message(error)
        return
    for entry in entries:
        assert entry.sample.checked().question == entry.key.question


VALUES = st.sampled_from(["1", "-1", "0.5", "nan", "hflip", "none", ""]) | st.text(max_size=9)
PARAMETERS = st.sampled_from(["alpha", "beta", "gamma", "transform", "layer", ""])
SETTING = st.builds("{}={}".format, PARAMETERS, VALUES)
SPECS = st.builds(
    "{}:{}".format, st.sampled_from([*names(), "rituall"]), st.lists(SETTING).map(",".join)
)


@given(spec=SPECS | st.text())
@settings(max_examples=300)
def test_methods_are_taken_or_refused_in_a_line(spec: str) -> None:
    try:
        method = create(spec)
    except UserError as error:
        check_message(error)
        return
    assert create(method.spec) == method
