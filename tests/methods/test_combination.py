"""Methods combined by ``+``: one rule, by hand on logits, and what does not go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

import secondsight
from secondsight import Method, MethodError, Request, Sample, Settings
from secondsight.methods import create
from secondsight.methods.exits import Early, EarlyExit
from secondsight.methods.registry import METHODS
from secondsight.views import NoImage, Noised, Original

SAMPLE = Sample(None, "?")
QUESTION = "Is there a dog in the image?"
COMBINED = (
    "ritual+pai",
    "vcd+icd",
    "deco+m3id",
    "sid+vcd",
    "revisit+avisc",
    "dola+only",
)


def logits(views: int, batch: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(views, batch, 9, generator=torch.Generator().manual_seed(seed))


def test_the_rule_is_a_sum_of_what_each_adds() -> None:
    method = create("vcd:alpha=2+icd:alpha=0.5")
    base, noised, disturbed = said = logits(3)
    by_hand = base + 2 * (base - noised) + 0.5 * (base - disturbed)
    torch.testing.assert_close(method.combine(said, 7), by_hand)
    assert [view.name for view in method.views(SAMPLE)] == ["original", "noised", "disturbed"]


def test_three_methods_and_one_of_them_on_log_probabilities() -> None:
    method = create("ritual:alpha=2+lcd:entropy=false,alpha=0.3+vcd")
    base, other, blind, noised = said = logits(4)
    by_hand = base + 2 * other + 0.3 * (base - blind) + (base - noised)
    found = method.combine(said, 0)
    torch.testing.assert_close(found.log_softmax(dim=-1), by_hand.log_softmax(dim=-1))


@pytest.mark.parametrize("registered", ["ritual+vcd", "ritual+m3id"])
def test_a_registered_name_wins_and_means_what_the_rule_says(registered: str) -> None:
    assert type(create(registered)) is METHODS.get(registered)
    ruled = create(registered.replace("ritual", "ritual:alpha=3"))
    assert type(ruled) is not METHODS.get(registered)
    said = logits(3)
    torch.testing.assert_close(ruled.combine(said, 30), create(registered).combine(said, 30))
    assert ruled.views(SAMPLE) == create(registered).views(SAMPLE)


def test_names_with_a_plus_are_parts_too() -> None:
    both = create("ritual++vcd")
    assert both.spec == "ritual++vcd"
    assert both.ask_first(SAMPLE) == create("ritual+").ask_first(SAMPLE)
    three = create("ritual+vcd:alpha_neg=2+icd")
    base, transformed, noised, disturbed = said = logits(4)
    by_hand = base + 3 * transformed + 2 * (base - noised) + (base - disturbed)
    torch.testing.assert_close(three.combine(said, 0), by_hand)


def test_early_exits_go_to_whom_they_belong() -> None:
    method = create("m3id+dola:layers=2/4")
    exits = method.early_exits(8)
    assert exits == create("dola:layers=2/4").early_exits(8)
    base, blind = said = logits(2)
    early = Early(exits, logits(2, seed=5))
    alone = create("dola:layers=2/4").combine(said[:1], 20, early=early)  # type: ignore[call-arg]
    weight = create("m3id").combine(torch.stack([base, blind]), 20) - base
    found = method.combine(said, 20, early=early)  # type: ignore[call-arg]
    torch.testing.assert_close(found, alone + weight)
    assert "layer" in method.facts(said[:, :1], 0, early=Early(exits, early.logits[:, :1]))


def test_plausible_is_what_all_find_plausible_and_views_are_needed_by_any() -> None:
    method = create("vcd:beta=0.5+m3id:beta=0.01")
    base = logits(1)[0] * 3
    mask = method.plausible(base)
    assert mask is not None
    narrow = create("vcd:beta=0.5").plausible(base)
    assert narrow is not None
    assert mask.equal(narrow)
    assert create("vcd:beta=none+m3id:gate=0.9").plausible(base) is None
    several = torch.ones_like(base, dtype=torch.bool)
    assert not create("m3id").needs_views(base, several, 0).any()
    assert method.needs_views(base, several, 0).all()


def test_where_nothing_is_plausible_to_all_the_first_decides() -> None:
    @secondsight.register("odd-ones")
    @dataclass(frozen=True)
    class Odd(Method):
        def plausible(self, logits: torch.Tensor) -> torch.Tensor | None:
            return logits <= logits.amin(dim=-1, keepdim=True)

    base = logits(1)[0] * 3
    first = create("vcd").plausible(base)
    found = create("vcd+odd-ones").plausible(base)
    assert first is not None
    assert found is not None
    assert found.equal(first)


def test_a_view_that_draws_nothing_is_read_once() -> None:
    assert create("m3id+lcd").views(SAMPLE) == (Original(), NoImage())
    drawn = create("vcd+ritual").views(SAMPLE)
    assert isinstance(drawn[1], Noised)
    assert len(drawn) == 3
    said = logits(2)
    base = said[0]
    by_hand = create("m3id").combine(said, 9) + create("lcd").combine(said, 9) - base
    torch.testing.assert_close(create("m3id+lcd").combine(said, 9), by_hand)


@pytest.mark.parametrize(
    "spec",
    ["vcd+icd:alpha=0.5", "ritual:transform=hflip+vcd", "deco+m3id", "only+revisit", "vcd+regular"],
)
def test_specs_round_trip(spec: str) -> None:
    method = create(spec)
    assert method.spec == spec
    assert create(method.spec) == method
    assert hash(create(spec)) == hash(method)
    assert method.name == "+".join(part.split(":")[0] for part in spec.split("+"))


def test_a_plus_within_a_text_stays_there() -> None:
    assert create("icd:disturbance=cats+dogs").parameters["disturbance"] == "cats+dogs"
    combined = create("icd:disturbance=cats, dogs+mice+vcd:step=3")
    assert combined.parameters["icd.disturbance"] == "cats, dogs+mice"
    assert combined.parameters["vcd.step"] == 3


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("vcd+vcd:alpha=2", "vcd cannot be combined with itself"),
        ("ritual+vcd+ritual", "ritual cannot be combined with itself"),
        ("dola+deco", "dola and deco cannot be combined"),
        ("pai+avisc", "pai and avisc cannot be combined"),
        ("vcd+icdd", "No method is called 'icdd'"),
        ("vdc+icd", "No method is called 'vdc'"),
        ("vcd+", "No method is called ''"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(spec: str, said: str) -> None:
    with pytest.raises(MethodError) as error:
        create(spec)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_two_that_ask_first_are_refused() -> None:
    @secondsight.register("curious")
    @dataclass(frozen=True)
    class Curious(Method):
        def ask_first(self, sample: Sample) -> str | None:
            return "What is it?"

    with pytest.raises(MethodError, match=r"curious and ritual\+ cannot be combined"):
        create("curious+ritual+")


def test_other_numbers_of_views_from_sample_to_sample_are_refused() -> None:
    @secondsight.register("sometimes")
    @dataclass(frozen=True)
    class Sometimes(Method):
        def views(self, sample: Sample) -> tuple[Any, ...]:
            return (Original(), *([NoImage()] if sample.question == "?" else []))

    with pytest.raises(MethodError, match="another number of views"):
        create("vcd+sometimes").views(SAMPLE)


def test_exits_of_one_model_do_not_change_those_of_another() -> None:
    method = create("dola:layers=low+m3id")
    short, deep = method.early_exits(8), method.early_exits(16)
    said = logits(2)
    for exits in (short, deep):
        early = Early(exits, logits(len(exits), seed=1))
        assert all(isinstance(one, EarlyExit) for one in exits)
        assert method.combine(said, 1, early=early).shape == said.shape[1:]  # type: ignore[call-arg]


def test_with_something_that_adds_nothing_it_is_the_other_one(
    model: secondsight.Model, picture: Any
) -> None:
    for neutral in ("regular", "icd:alpha=0,beta=0", "ritual:alpha=0,beta=none"):
        for other in ("vcd", "m3id:decay=0.5", "deco", "pai:gamma=2"):
            for temperature in (0.0, 1.5):
                options: Any = {"temperature": temperature, "max_new_tokens": 8, "seed": 4}
                one = model.answer(picture(3), QUESTION, other, **options)
                for spec in (f"{neutral}+{other}", f"{other}+{neutral}"):
                    if "vcd" in spec and "ritual" in spec:
                        continue  # both draw, so the noise is another one
                    both = model.answer(picture(3), QUESTION, spec, **options)
                    assert both.ids == one.ids, spec


def test_in_any_company_combinations_say_what_they_say_alone(
    model: secondsight.Model, picture: Any
) -> None:
    specs = [*COMBINED, "regular", "ritual+vcd"]
    settings = Settings(max_new_tokens=8, temperature=1.0)
    requests = [
        Request(Sample(picture(number), QUESTION), spec, settings, schedule=schedule)
        for number, spec in enumerate(specs)
        for schedule in ("joint", "lazy", "auto")
    ]
    alone = [model.answers([one]).__next__()[1].ids for one in requests]
    together = dict(model.answers(requests[::-1], batch_size=5))
    assert [together[len(requests) - 1 - place].ids for place in range(len(requests))] == alone
    assert all(alone[at] == alone[at + 1] == alone[at + 2] for at in range(0, len(alone), 3))


def test_evidence_and_provenance_of_a_combination(model: secondsight.Model, picture: Any) -> None:
    answer = model.answer(
        picture(1), QUESTION, "sid:keep=3+vcd:alpha=2", evidence=True, max_new_tokens=3
    )
    assert answer.evidence is not None
    assert len(answer.evidence[0].facts["kept_tokens"]) == 3
    assert set(answer.evidence[0].view_probabilities) == {"original", "least attended", "noised"}
    method = answer.provenance["method"]
    assert method["name"] == "sid+vcd"
    assert method["spec"] == "sid:keep=3+vcd:alpha=2"
    assert method["vcd.alpha"] == 2
