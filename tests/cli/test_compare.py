"""``secondsight compare``: everything side by side."""

import json

import pytest

from secondsight import Answer, MethodError, methods
from secondsight.cli import compare
from secondsight.cli.compare import chosen_methods, marked

SHORT = ("--max-new-tokens", 6)


def unasked() -> list[str]:
    """Every method that needs no other model."""
    return [name for name in methods.names() if not methods.get(name).helper]


def answer(text: str) -> Answer:
    return Answer(text, (), "eos", {"encode": 0.1, "generate": 0.2}, {})


def words(before: str, after: str) -> list[str]:
    return [word for word, differs in marked(answer(before), answer(after)) if differs]


def test_words_that_differ_are_marked() -> None:
    assert words("A cat on a mat.", "A dog on a mat.") == ["dog"]
    assert words("A cat.", "A cat.") == []
    assert words("A cat", "A big black cat") == ["big", " ", "black"]
    assert words("", "Yes") == ["Yes"]
    assert words("A cat sat", "A cat") == []
    pieces = marked(answer("A  cat"), answer("The  cat\nsat"))
    assert "".join(word for word, _ in pieces) == "The  cat\nsat"


def test_stars_where_there_is_no_colour() -> None:
    before, after = answer("A cat on a mat."), answer("A big dog on a mat, too.")
    assert compare._starred(marked(before, after)) == "A *big dog* on a *mat, too.*"


def test_all_methods_and_controls_by_default(run, tiny_llava, image_files) -> None:
    [path] = image_files(1)
    result = run("compare", path, "-m", tiny_llava, "-q", "Why?", "--json", *SHORT)
    record = json.loads(result.out)
    # This tokenizer begins yes and no alike, so that questions about an answer tell nothing.
    can = [name for name in unasked() if name not in ("check", "check-blank")]
    assert [one["method"] for one in record["answers"]] == can
    controls = [name for name in methods.controls() if name in can]
    assert [one["method"] for one in record["answers"] if one["control"]] == controls
    assert "check is left out. This model's tokenizer" in " ".join(result.err.split())
    asked = run("compare", path, "-m", tiny_llava, "--methods", "check", *SHORT)
    assert (asked.code, asked.out) == (2, "")
    assert record["question"] == "Why?"
    regular = record["answers"][0]
    assert regular["same_as_regular"]
    for one in record["answers"]:
        assert one["tokens"] == len(one["ids"]) <= 6
        assert one["seconds"] > 0
        assert one["same_as_regular"] == (one["text"].split() == regular["text"].split())
        assert bool(one["words_that_differ"]) == (not one["same_as_regular"])


def test_the_table_names_every_method(run, tiny_llava, image_files) -> None:
    [path] = image_files(1)
    asked = "ritual:alpha=2,transform=hflip,vcd"
    result = run("compare", path, "-m", tiny_llava, "--methods", asked, "--no-controls", *SHORT)
    assert result.code == 0
    assert "regular" in result.out
    assert "ritual:alpha=2,transform=hflip" in result.out.replace("\n", "")
    assert "vcd" in result.out
    assert "identity" not in result.out


def test_which_methods() -> None:
    def specs(text: str | None, controls: bool) -> list[str]:
        return [method.spec for method in chosen_methods(text, controls)]

    assert specs(None, True) == unasked()
    assert specs(None, False) == [name for name in unasked() if name not in methods.controls()]
    assert specs("agla", False) == ["regular", "agla"]
    assert specs("vcd, ritual:beta=0.2,alpha=2", False) == [
        "regular",
        "vcd",
        "ritual:beta=0.2,alpha=2",
    ]
    assert specs("regular,vcd,vcd", True) == ["regular", "vcd", *methods.controls_of(["vcd"])]
    assert specs("apc", False) == ["regular", "apc"]
    with pytest.raises(MethodError, match="Did you mean 'ritual'"):
        specs("rituall", True)
    with pytest.raises(ValueError, match="names no method"):
        specs(" , ", True)
