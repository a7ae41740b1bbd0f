"""Arguments of every type: what cannot be used is a UserError of one line, and nothing else.

    python tests/fuzz/arguments.py --seconds 600

Python arguments of `Model.answer` and its like, of `Sample`, `Settings` and `Request`; lines of
lists; texts of methods. Each try has one value that is known to be good or bad, or one that is
anything at all, which may only be taken or refused well.
"""

from __future__ import annotations

import io
import json
import logging
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from PIL import Image
from tally import ACCEPTED, GOOD, REFUSED, SLOW, WRONG, Outcome, one_line, run

import secondsight
from secondsight.cli.list_lines import read_list
from secondsight.errors import UserError
from secondsight.methods import create, names

SLOWEST = 20.0
HUGE = 10**5000


class Odd:
    """An object whose text has lines, and is long."""

    def __repr__(self) -> str:
        return "odd\n" * 1000


class Hostile:
    """An object that fails whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"asked for {name}")

    def __repr__(self) -> str:
        raise RuntimeError("asked for its text")


def anything() -> list[Any]:
    """Values of all types, fresh ones."""
    return [
        None, True, False, 0, 1, -1, 7, HUGE, -HUGE, 1.5, float("nan"), float("inf"), -0.0, 1e308,
        1j, Fraction(1, 3), np.int64(3), np.float32(0.5), np.bool_(True), np.array(3),
        np.arange(6), np.zeros((4, 4, 3), np.uint8), torch.tensor(2), torch.zeros(3, 4, 4),
        "", " ", "a", "auto", "\ud800", "\0", "x" * 5000, "\n", "ritual", "ritual:alpha=2", "~",
        b"", b"a", bytearray(b"a"), memoryview(b"a"), [], (), {}, set(), ["a"], ("a", "b"),
        {"a": 1}, {"a"}, [None], [1], [[]], [b"a"], range(3), iter(()), iter("ab"),
        (n for n in "a"), map(str, [1]), lambda: None, len, int, object(), Odd(), type,
        SimpleNamespace(), ..., NotImplemented, io.BytesIO(b"x"), io.StringIO("x"), Path("x"),
        Image.new("RGB", (3, 3)),
        ValueError("x"), slice(3), secondsight.Turn("a", "b"), [secondsight.Turn("a", "b")],
        [("a", "b")], [secondsight.Turn("a")], [secondsight.Turn(1, 2)], secondsight.Settings(),
        secondsight.Sample(None, "x"), secondsight.Method, Hostile(), [Hostile()],
    ]  # fmt: skip


IMAGE = Image.new("RGB", (8, 8), "red")

GOOD_VALUES: dict[str, list[Any]] = {
    "image": [None, IMAGE, [IMAGE], (IMAGE, IMAGE), np.zeros((4, 4, 3), np.uint8)],
    "question": ["What?", "\u00e4\U0001f600", "\0", "<image>", "</s>", "x " * 20],
    "method": ["regular", " regular ", "regular:beta=0.1", "apc"],
    "evidence": [True, False, np.bool_(True)],
    "history": [(), [], [secondsight.Turn("a", "b")], iter([secondsight.Turn("a", "b")])],
    "schedule": ["auto", "lazy"],
    "share_views": [True, False],
    "max_new_tokens": [1, np.int64(1)],
    "temperature": [0, 0.5, 1, np.float32(0.5), Fraction(1, 2)],
    "top_p": [1, 0.5, np.float64(0.1)],
    "top_k": [None, 1, 10**30, np.int32(5)],
    "repetition_penalty": [1, 1.5, 0.5],
    "stop": [None, "a", ["a", "b"], ("a",), []],
    "views": [(), [], iter(())],
    "seed": [0, -1, 2**64 - 1, np.int64(7)],
    "batch_size": [1, 3, "auto", np.int64(2)],
}
BAD_VALUES: dict[str, list[Any]] = {
    "image": [[], {}, 7, True, object(), [None], [[IMAGE]], "", "absent.png", b"x", "~nobody-is/x",
              io.StringIO("x"), np.zeros(3), np.full((3, 3), 2.5), torch.zeros(8, 9, 3), Odd()],
    "question": [None, "", "  \n", 7, b"What?", ["What?"], "\ud800", Odd(), "why " * 300_000],
    "method": [None, "", "rituall", "regular:beta=2", "regular:x=1", 7, ["regular"], Odd(),
               secondsight.Method, "regular:beta", ":", "regular:beta=nan", "x" * 5000, "\ud800"],
    "evidence": ["yes", None, 2, [], 0.5],
    "history": [None, 7, "ab", ["ab"], [("a", "b")], [secondsight.Turn("a", None)],
                [secondsight.Turn(1, "b")], [secondsight.Turn("\ud800", "b")], Odd(), {"a": "b"}],
    "schedule": [None, "", "fast", 7, ["auto"], Odd()],
    "share_views": ["no", None, []],
    "max_new_tokens": [0, -1, 1.5, "5", None, True, float("inf"), [5], Odd()],
    "temperature": [-1, "1", None, True, float("nan"), float("inf"), 1j, [1], Odd(), HUGE],
    "top_p": [0, 1.5, -1, "1", None, float("nan"), [1], Odd()],
    "top_k": [0, -1, 1.5, "5", True, [5], Odd()],
    "repetition_penalty": [0, -1, "1", None, float("inf"), [1], Odd()],
    "stop": [7, "", [""], [7], [None], b"a", [b"a"], {"a": 1}, "\ud800", Odd()],
    "seed": [None, 1.5, "7", True, [7], HUGE, Odd()],
    "views": [None, 7, "ab", IMAGE, [7], [IMAGE], {"a": IMAGE}, [object()], Odd()],
    "batch_size": [0, -1, 1.5, "8", None, True, [8], Odd()],
    "nothing_of_the_kind": [1, None],
}  # fmt: skip

SETTINGS = ("max_new_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "stop", "seed")
OF_CALLS: dict[str, tuple[str, ...]] = {
    "answer": ("image", "question", "method", "evidence", "history", "schedule", "share_views",
               "views",
               *SETTINGS, "nothing_of_the_kind"),
    "answer_batch": ("image", "question", "method", "evidence", "schedule", "share_views",
                     *SETTINGS, "batch_size", "nothing_of_the_kind"),
    "stream": ("image", "question", "method", "history", "schedule", "share_views", *SETTINGS,
               "nothing_of_the_kind"),
    "encode": ("image", "question", "history"),
    "outcomes": ("image", "question", "method", "evidence", "history", "schedule", "share_views",
                 *SETTINGS, "batch_size"),
}  # fmt: skip


@cache
def model() -> secondsight.Model:
    return secondsight.load(device="cpu")


def call(name: str, values: dict[str, Any]) -> Any:
    """Ask by one of the model's methods, with all other arguments small and good."""
    given = {"image": None, "question": "What?", "max_new_tokens": 1, **values}
    if name == "answer":
        return model().answer(**given)
    if name == "encode":
        del given["max_new_tokens"]
        return model().encode(**given)
    if name == "stream":
        return "".join(model().stream(**given))
    if name == "answer_batch":
        pair = given.pop("image"), given.pop("question")
        return model().answer_batch([pair], **given)
    sample = {key: given.pop(key) for key in ("image", "question", "history") if key in given}
    size = {"batch_size": given.pop("batch_size")} if "batch_size" in given else {}
    settings = {key: given.pop(key) for key in SETTINGS if key in given}
    request = secondsight.Request(
        secondsight.Sample(**sample), settings=secondsight.Settings(**settings), **given
    )
    [(_, outcome)] = model().outcomes([request], **size)
    if isinstance(outcome, UserError):
        raise outcome
    return outcome


def tried(kind: str, ask: Callable[[], Any], wanted: bool | None, detail: str) -> Outcome:
    """Ask, and judge what comes of it."""
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ask()
    except UserError as error:
        if fault := one_line(error):
            return Outcome(kind, WRONG, f"{detail}: {fault}")
        if wanted:
            return Outcome(kind, WRONG, f"{detail}: refused: {str(error)[:80]}")
        result = REFUSED
    except BaseException as error:
        return Outcome(kind, WRONG, f"{detail}: {type(error).__name__}: {str(error)[:80]}")
    else:
        result = GOOD if wanted is not False else ACCEPTED
    if time.process_time() - start > SLOWEST:
        return Outcome(kind, SLOW, detail)
    return Outcome(kind, result, detail)


def shown(value: Any) -> str:
    try:
        return " ".join(repr(value).split())[:60]
    except Exception:
        return type(value).__name__


def python_argument(rng: random.Random) -> Outcome:
    name = rng.choice(list(OF_CALLS))
    parameter = rng.choice(OF_CALLS[name])
    of = rng.choice(["good", "bad", "bad", "anything", "anything"])
    if of == "good" and parameter in GOOD_VALUES:
        value, wanted = rng.choice(GOOD_VALUES[parameter]), True
        if name in ("answer_batch", "outcomes") and hasattr(type(value), "__next__"):
            value = [secondsight.Turn("a", "b")]  # an iterator is for one try
    elif of == "bad" and parameter in BAD_VALUES:
        value, wanted = rng.choice(BAD_VALUES[parameter]), False
    else:
        value, wanted = rng.choice(anything()), None
    if parameter == "history" and hasattr(type(value), "__next__"):
        value = iter([secondsight.Turn("a", "b")])
    if isinstance(value, io.StringIO):
        value = io.StringIO("x")
    return tried(
        f"{name}()",
        lambda: call(name, {parameter: value}),
        wanted,
        f"{parameter}={shown(value)}",
    )


def batch(rng: random.Random) -> Outcome:
    """What is handed over as samples."""
    values: list[tuple[Any, bool | None]] = [
        ([], True), ([secondsight.Sample(None, "a")], True), (((None, "a"),), True),
        (iter([(None, "a")]), True), ([[None, "a"]], True),
        (None, False), (7, False), ("ab", False), (["ab"], False), ([("a",)], False),
        ([None], False), ({"a": "b"}, False), (secondsight.Sample(None, "a"), False),
        ([{"image": None, "question": "a"}], False), ([()], False), (b"ab", False),
        ([(None, "a", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)], False),
    ]  # fmt: skip
    value, wanted = rng.choice(values)
    if rng.random() < 0.3:
        value, wanted = rng.choice([rng.choice(anything()), [rng.choice(anything())]]), None
    return tried(
        "samples",
        lambda: model().answer_batch(value, max_new_tokens=1),
        wanted,
        f"samples={shown(value)}",
    )


def text(rng: random.Random, size: int = 12) -> str:
    odd = "\0\x1b\ud800\u2028\ufeff"
    alphabet = rng.choice(['{}[]",:\\ \n', "abc=:,;. ", "0123456789+-.e", odd, "imagequestionid"])
    return "".join(rng.choice(alphabet) for _ in range(rng.randrange(size)))


def json_value(rng: random.Random, depth: int = 0) -> Any:
    kinds = ["text", "number", "image", "special", "list", "object"]
    kind = rng.choice(kinds[: 4 if depth > 2 else 6])
    if kind == "text":
        return text(rng)
    if kind == "number":
        return rng.choice([0, 1, -1, 1.5, 10**400, 1e400, float("nan"), True, False])
    if kind == "image":
        return rng.choice(["a.png", "http://127.0.0.1:1/a.png", "data:,x", "~nobody-is/a.png", "~"])
    if kind == "special":
        return rng.choice([None, "", "\ud800", "\0", "x" * 3000])
    if kind == "list":
        return [json_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {text(rng, 5): json_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def list_line(rng: random.Random) -> Outcome:
    fields = ["image", "question", "id", "text", "question_id", "category", "label", "extra"]
    kind = rng.choice(["fields", "fields", "damaged", "text", "bytes", "nested"])
    known = {"image": "a.png", "question": "What?", "id": 1}
    made = {name: known[name] for name in known if rng.random() < 0.7}
    for _ in range(rng.randrange(3)):
        made[rng.choice(fields)] = json_value(rng)
    line = json.dumps(made, ensure_ascii=rng.random() < 0.5)
    wanted: bool | None = None
    if kind == "fields":
        wanted = False if {"label", "extra"} & made.keys() or "image" not in made else None
    if kind == "damaged":
        place = rng.randrange(len(line))
        line = line[:place] + text(rng, 3) + line[place + rng.randrange(3) :]
    elif kind == "text":
        line = text(rng, 60)
    elif kind == "nested":
        line = '{"image": ' + rng.choice("[{") * rng.choice([10, 1000, 200_000])
        wanted = False
    data = line.encode("utf-8", "surrogatepass")
    if kind == "bytes":
        data = bytes(rng.randrange(256) for _ in range(rng.randrange(60)))
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write(data + b"\n")
        file.flush()

        def ask() -> None:
            for entry in read_list(Path(file.name), "What?"):
                assert entry.key.question.strip()
                entry.sample.checked()

        return tried("lists", ask, wanted, f"{kind}: {data[:60]!r}")


def method_text(rng: random.Random) -> Outcome:
    kind = rng.choice(["text", "pieces", "value"])
    if kind == "text":
        given = text(rng, 30)
    else:
        name = rng.choice([*names(), "rituall", ""])
        parameters = ["alpha", "beta", "gamma", "transform", "step", "x", ""]
        values = ["1", "-1", "0.5", "1e999", "nan", "hflip", "", "none", "True", "9" * 5000, "1_0",
                  "\u0661", "\ud800", text(rng)]  # fmt: skip
        settings = [
            rng.choice(parameters) + rng.choice(["=", "=", "", "=="]) + rng.choice(values)
            for _ in range(rng.randrange(4))
        ]
        given = (
            name + rng.choice([":", ":", "", "::"]) + rng.choice([",", ";", ",,"]).join(settings)
        )

    def ask() -> None:
        method = create(given)
        assert create(method.spec) == method, method.spec
        method.views(secondsight.Sample(IMAGE, "What?"))

    return tried("methods", ask, None, shown(given))


def attempt(seed: int, number: int) -> Outcome:
    rng = random.Random(f"{seed} {number}")
    kinds = (python_argument, python_argument, batch, list_line, list_line, method_text)
    return rng.choice(kinds)(rng)


if __name__ == "__main__":
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    torch.set_num_threads(1)
    model()
    sys.exit(run(attempt))
