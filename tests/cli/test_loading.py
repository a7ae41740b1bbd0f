"""The options that say which model is loaded: all of `load`'s, on every verb that loads one."""

import inspect
from dataclasses import fields
from typing import Any

import pytest

import secondsight
from secondsight.cli.loading import Loading

VERBS = ("describe", "compare", "trace", "bench", "eval", "verify")


def test_every_argument_of_load_is_an_option() -> None:
    arguments = inspect.signature(secondsight.load).parameters
    assert {field.name for field in fields(Loading)} == set(arguments)
    assert {name: one.default for name, one in arguments.items()} == vars(Loading())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_hands_them_on(
    run, tiny_llava, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    seen: dict[str, Any] = {}

    def load(**given: Any) -> None:
        seen.update(given)
        raise secondsight.CheckpointError("enough")

    monkeypatch.setattr("secondsight.checkpoints.load", load)
    name = (tiny_llava,) if verb == "verify" else ("-m", tiny_llava)
    if verb == "eval":
        name = ("pope", "--dataset", "stickers", "--limit", "1", *name)
    result = run(
        verb, *name, "--device", "cpu", "--dtype", "bfloat16", "--revision", "main",
        "--model-base", "base", "--vision-tower", "tower", "--device-map", "auto",
        "--load-in-8bit", "--load-in-4bit", "--attn-implementation", "sdpa",
        "--local-files-only", "--trust-remote-code", "--calibrations", "doubts.json",
    )  # fmt: skip
    assert (result.code, result.err) == (2, "Error: enough\n")
    assert seen == {
        "model": str(tiny_llava), "preset": "llava-official", "device": "cpu",
        "dtype": "bfloat16", "revision": "main", "model_base": "base", "vision_tower": "tower",
        "device_map": "auto", "load_in_8bit": True, "load_in_4bit": True,
        "attn_implementation": "sdpa", "local_files_only": True, "trust_remote_code": True,
        "calibrations": "doubts.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--load-in-8bit", "--load-in-4bit"), "one of load_in_8bit and load_in_4bit"),
        (("--attn-implementation", "flash"), "No attention implementation is called 'flash'"),
        (("--vision-tower", "x"), "brings its own vision tower"),
        (("--model-base", "gone/gone", "--local-files-only"), "gone/gone"),
    ],
)
def test_mistakes(run, tiny_llava, options: tuple[str, ...], message: str) -> None:
    result = run("describe", "-m", tiny_llava, *options)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
