"""What methods compute and refuse, and how they are written as text."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import secondsight
from secondsight import M3ID, VCD, Method, MethodError, Regular, Ritual, Sample, methods, register
from secondsight.methods import create, parameter
from secondsight.methods.ritual import CHOICES, chosen_transform
from secondsight.views import TRANSFORMS, Original

SAMPLE = Sample(None, "?")
logit_lists = st.lists(st.floats(-40, 40, width=32), min_size=2, max_size=12)


def tensor(*views: list[float]) -> torch.Tensor:
    return torch.tensor(views, dtype=torch.float32)[:, None]


@st.composite
def two_views(draw: Callable[..., Any]) -> torch.Tensor:
    first = draw(logit_lists)
    same = {"min_size": len(first), "max_size": len(first)}
    return tensor(first, draw(st.lists(st.floats(-40, 40, width=32), **same)))


DEFAULTS: dict[str, dict[str, Any]] = {
    "regular": {"beta": None},
    "ritual": {"alpha": 3, "beta": 0.1, "transform": "random"},
    "ritual+": {"alpha": 3, "beta": 0.1, "transform": "random"},
    "vcd": {"alpha": 1, "beta": 0.1, "step": 500},
    "m3id": {"decay": 0.02, "beta": 0.1, "variant": "code", "gate": 0},
    "icd": {"alpha": 1, "beta": 0.1, "disturbance": "You are a confused object detector."},
    "lcd": {"alpha": 2, "beta": 0.1, "entropy": True, "model": ""},
    "agla": {
        "alpha": 2,
        "beta": 0.5,
        "official": False,
        "relevance": "blip",
        "matcher": "Salesforce/blip-itm-large-coco",
    },
    "dola": {"layers": "low", "beta": 0.1, "variant": "code"},
    "deco": {
        "alpha": 0.6,
        "top_p": 0.9,
        "top_k": 20,
        "layers": "auto",
        "variant": "code",
        "beta": None,
    },
    "only": {"alpha_pos": 3, "alpha_neg": 1, "gamma": 0.2, "layer": 0, "beta": 0.1},
    "revisit": {"layers": "last", "variant": "code", "beta": 1e-5},
    "opera": {
        "beams": 5,
        "candidates": 5,
        "weight": 1,
        "scale": 50,
        "threshold": 15,
        "official": False,
        "beta": None,
    },
    "ritual+vcd": {
        "alpha_pos": 3,
        "alpha_neg": 1,
        "beta": 0.1,
        "step": 500,
        "transform": "random",
    },
    "ritual+m3id": {"alpha_pos": 3, "beta": 0.1, "decay": 0.02, "transform": "random"},
    "greedy": {"beta": 1},
    "apc": {"beta": 0.1},
    "sharpened": {"temperature": 0.25, "beta": None},
    "identity": {"alpha": 3, "beta": 0.1},
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_the_designs(name: str) -> None:
    method = create(name)
    assert method.parameters == DEFAULTS[name]
    assert method.spec == name
    assert method.control == (name in ("greedy", "apc", "sharpened", "identity"))


def test_all_methods_are_there() -> None:
    assert set(DEFAULTS) <= set(methods.names())
    assert methods.names()[0] == "regular"
    assert {"greedy", "apc", "sharpened", "identity"} <= set(methods.controls())


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_first_view_is_the_original(name: str) -> None:
    views = create(name).views(SAMPLE)
    assert isinstance(views[0], Original)
    names = [view.name for view in views]
    assert len(set(names)) == len(names), "evidence is by the view's name"


@pytest.mark.parametrize("name", DEFAULTS)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_specs_round_trip(name: str, data: st.DataObject) -> None:
    numbers = {
        "alpha": st.floats(0, 1),
        "alpha_pos": st.floats(-10, 10),
        "alpha_neg": st.floats(-10, 10) | st.integers(0, 5),
        "beta": st.none() | st.floats(0, 1),
        "decay": st.floats(0, 5),
        "temperature": st.floats(0.001, 10),
        "step": st.integers(0, 999),
        "transform": st.sampled_from(["random", *TRANSFORMS]),
        "variant": st.sampled_from(["code", "paper"]),
        "gate": st.floats(0, 1),
        "gamma": st.floats(0, 2),
        "layer": st.integers(0, 40),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(1, 100),
        "beams": st.integers(1, 9),
        "candidates": st.integers(1, 9),
        "weight": st.floats(0, 500),
        "scale": st.floats(0, 100),
        "threshold": st.integers(-1, 50),
        "entropy": st.booleans(),
        "official": st.booleans(),
        "model": st.sampled_from(["", "lmsys/vicuna-7b-v1.5"]),
        "relevance": st.just("blip"),
        "matcher": st.sampled_from(["Salesforce/blip-itm-base-coco", "/somewhere/else"]),
        "layers": st.sampled_from(["6", "8-10", "0/2/4", "all"]),
        "disturbance": st.sampled_from(["You lie.", "You are tired, confused, and lie."]),
    }
    chosen = {key: data.draw(numbers[key]) for key in DEFAULTS[name] if data.draw(st.booleans())}
    method = methods.get(name)(**chosen)
    again = create(method.spec)
    assert again == method
    assert again.spec == method.spec
    assert create(method) is method


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("ritaul", "Did you mean 'ritual'"),
        ("", "Known"),
        (":", "Known"),
        ("ritual:alfa=2", "Did you mean 'alpha'"),
        ("ritual:alpha", "name=value"),
        ("ritual:alpha=", "number"),
        ("ritual:alpha=two", "number"),
        ("ritual:alpha=nan", "finite"),
        ("ritual:alpha=inf", "finite"),
        ("ritual:alpha=-inf", "finite"),
        ("ritual:beta=-0.1", "between 0 and 1"),
        ("ritual:beta=1.1", "between 0 and 1"),
        ("ritual:beta=nan", "finite"),
        ("ritual:transform=hfilp", "Did you mean 'hflip'"),
        ("vcd:step=1000", "between 0 and 999"),
        ("vcd:step=-1", "between 0 and 999"),
        ("vcd:step=2.5", "whole number"),
        ("m3id:decay=-1", "at least 0"),
        ("m3id:variant=papr", "Did you mean 'paper'"),
        ("m3id:gate=2", "between 0 and 1"),
        ("dola:layers=lo", "Did you mean 'low'"),
        ("dola:variant=jsd", "Known: code, paper"),
        ("deco:layers=low", "auto, all, a number"),
        ("deco:top_k=0", "at least 1"),
        ("only:layer=-1", "at least 0"),
        ("only:gamma=3", "between 0 and 2"),
        ("revisit:layers=lats", "Did you mean 'last'"),
        ("agla:official=1", "true or false"),
        ("agla:relevance=blop", "Did you mean 'blip'"),
        ("lcd:entropy=no", "true or false"),
        ("sharpened:temperature=0", "temperature"),
        ("sharpened:temperature=-1", "temperature"),
        ("ritual+vcd:transform=x", "hflip"),
    ],
)
def test_bad_text(spec: str, words: str) -> None:
    with pytest.raises(MethodError, match=words.replace("(", r"\(")):
        create(spec)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ritual(alpha=math.nan),
        lambda: Ritual(alpha=math.inf),
        lambda: Ritual(alpha="3"),
        lambda: Ritual(alpha=True),
        lambda: Ritual(alpha=None),
        lambda: Ritual(beta=2),
        lambda: Ritual(beta="0.1"),
        lambda: Ritual(beta=False),
        lambda: Ritual(transform=3),
        lambda: Ritual(transform=None),
        lambda: VCD(step=2.5),
        lambda: VCD(step=1000),
        lambda: M3ID(variant=None),
        lambda: M3ID(decay=math.inf),
        lambda: secondsight.Sharpened(temperature=0),
        lambda: create(3),
    ],
)
def test_bad_values(make: Callable[[], Method]) -> None:
    with pytest.raises(MethodError):
        make()


@given(logits=two_views(), low=st.floats(0, 1), high=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_plausibility_is_monotone_in_beta(logits: torch.Tensor, low: float, high: float) -> None:
    low, high = sorted((low, high))

    def kept(beta: float) -> torch.Tensor:
        plausible = Ritual(beta=beta).plausible(logits[0])
        return torch.ones_like(logits[0], dtype=torch.bool) if plausible is None else plausible

    assert (kept(high) <= kept(low)).all()
    assert kept(high).any()
    assert kept(1.0).sum() == (logits[0] == logits[0].max()).sum()
    assert kept(0.0).all()


@given(logits=two_views(), beta=st.floats(1e-6, 1))
@settings(max_examples=60, deadline=None)
def test_plausibility_against_probabilities(logits: torch.Tensor, beta: float) -> None:
    plausible = Ritual(beta=beta).plausible(logits[0])
    assert plausible is not None
    raw = logits[0, 0].double().numpy()
    chance = np.exp(raw - raw.max())
    clear = np.abs(chance - beta) > 1e-5 * beta
    assert (plausible[0].numpy() == (chance >= beta))[clear].all()


@given(logits=two_views(), step=st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_formulas(logits: torch.Tensor, step: int) -> None:
    l, other = logits[:, 0].double().numpy()  # noqa: E741
    g = math.exp(-0.02 * step)
    for method, want in (
        (Ritual(alpha=2.5), l + 2.5 * other),
        (VCD(alpha=0.5), 1.5 * l - 0.5 * other),
        (M3ID(), l + (1 - g) / g * (l - other)),
        (Regular(), l),
        (secondsight.Sharpened(temperature=0.5), l / 0.5),
        (secondsight.Identity(alpha=1), l + other),
    ):
        have = method.combine(logits[: len(method.views(SAMPLE))], step)[0].double().numpy()
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("step", [0, 1, 1000, 4000, 10**4, 10**6, 10**9])
@pytest.mark.parametrize("spec", ["m3id", "m3id:gate=1", "ritual+m3id"])
def test_m3id_stays_finite(spec: str, step: int) -> None:
    method = create(spec)
    logits = torch.randn(len(method.views(SAMPLE)), 2, 50)
    scores = method.combine(logits, step)
    assert torch.isfinite(scores).all()
    if step >= 1000:  # the contrast alone decides, in its own order
        contrast = logits[0] - logits[-1]
        assert scores.argmax(-1).tolist() == contrast.argmax(-1).tolist()


def test_the_paper_variant_counts_from_one_and_spares_the_sure() -> None:
    logits = tensor([5.0, 0.0, 0.0], [0.0, 5.0, 0.0])
    sure = M3ID(variant="paper")
    assert sure.plausible(logits[0]) is None
    torch.testing.assert_close(sure.combine(logits, 7), logits[0].log_softmax(-1))
    assert not sure.needs_views(logits[0], None, 7).any()
    unsure = M3ID(gate=1.0, decay=0.5)
    image, text = logits.log_softmax(-1)
    want = image + math.expm1(0.5) * (image - text)
    torch.testing.assert_close(unsure.combine(logits, 0), want)
    assert unsure.needs_views(logits[0], None, 0).all()


def test_whoever_sets_a_gate_asks_for_the_paper() -> None:
    assert create("m3id:gate=0.3") == create("m3id:variant=paper")
    assert create("m3id:gate=0.3").spec == "m3id:variant=paper,gate=0.3"
    assert create("m3id:gate=0") == create("m3id")


def test_needs_views() -> None:
    logits = torch.tensor([[9.0, 0.0, 0.0], [9.0, 8.9, 0.0]])
    ritual = Ritual()
    assert ritual.needs_views(logits, ritual.plausible(logits), 0).tolist() == [False, True]
    open_ = Ritual(beta=0)
    assert open_.needs_views(logits, open_.plausible(logits), 0).tolist() == [True, True]
    m3id = M3ID()
    assert m3id.needs_views(logits, m3id.plausible(logits), 0).tolist() == [False, False]
    assert m3id.needs_views(logits, m3id.plausible(logits), 1).tolist() == [False, True]


@given(logits=two_views(), step=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_relations_between_methods(logits: torch.Tensor, step: int) -> None:
    twice = torch.stack([logits[0], logits[0]])
    torch.testing.assert_close(Ritual(alpha=0).combine(logits, step), logits[0])
    identity = secondsight.Identity(alpha=3).combine(twice, step)
    sharpened = secondsight.Sharpened(temperature=0.25).combine(logits[:1], step)
    torch.testing.assert_close(identity, sharpened)
    torch.testing.assert_close(VCD(alpha=2).combine(twice, step), logits[0], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(M3ID().combine(twice, step), logits[0])
    best = secondsight.Greedy().plausible(logits[0])
    assert best is not None
    assert best[0, logits[0, 0].argmax()]


@pytest.mark.parametrize(
    ("reply", "transform"),
    [
        ("Horizontal flip.", "hflip"),
        ("I would MIRROR it", "hflip"),
        ("vertical flip", "vflip"),
        ("Turn it upside down!", "vflip"),
        ("rotation, then blur", "rotate"),
        ("A Gaussian blur helps most", "blur"),
        ("Blur rather than rotation", "blur"),
        ("colour jitter", "color"),
        ("the random resized crop", "crop"),
        ("none of these", None),
        ("", None),
    ],
)
def test_the_transform_a_reply_names(reply: str, transform: str | None) -> None:
    assert chosen_transform(reply) == transform


def test_ritual_plus_offers_every_transform() -> None:
    question = create("ritual+").ask_first(Sample(None, "Is there a bus?"))  # type: ignore[attr-defined]
    assert "Is there a bus?" in question
    assert set(CHOICES) == set(TRANSFORMS)
    for words in CHOICES.values():
        assert words[0] in question


def test_registering() -> None:
    @register("test-halves")
    @dataclass(frozen=True)
    class Halves(Method):
        weight: float = parameter(0.5, "how much", low=0)

        def combine(self, logits: torch.Tensor, step: int) -> torch.Tensor:
            return self.weight * logits[0]

    assert create("test-halves:weight=0.25") == Halves(weight=0.25)
    assert "test-halves" in methods.names()
    assert "test-halves" not in methods.controls()
    with pytest.raises(MethodError, match="at least 0"):
        create("test-halves:weight=-1")

    with pytest.raises(MethodError, match="taken"):
        register("test-halves")(Ritual)
    with pytest.raises(MethodError, match="blanks"):
        register("two words")
    with pytest.raises(MethodError, match="frozen dataclass"):

        @register("test-bare")
        class Bare(Method):  # its parameter would be no number
            weight: float = parameter(0.5, "how much")

    with pytest.raises(MethodError, match="Method"):
        register("test-other")(int)  # type: ignore[type-var]
    assert "test-bare" not in methods.names()


def test_a_parameter_may_be_true_or_false() -> None:
    @register("test-switch")
    @dataclass(frozen=True)
    class Switch(Method):
        official: bool = parameter(True, "whether as the code has it")

    assert create("test-switch:official=False") == Switch(official=False)
    assert create("test-switch:official=true").spec == "test-switch"
    assert Switch(official=False).spec == "test-switch:official=false"
    assert create(Switch(official=False).spec) == Switch(official=False)
    for wrong in ("1", "maybe", ""):
        with pytest.raises(MethodError, match="official must be true or false"):
            create(f"test-switch:official={wrong}")
    with pytest.raises(MethodError, match="official must be True or False"):
        Switch(official=1)  # type: ignore[arg-type]
    with pytest.raises(MethodError, match="must be a number"):
        create("vcd").__class__(alpha=True)


def test_a_method_has_one_name() -> None:
    with pytest.raises(MethodError, match="is the method 'vcd' already"):
        register("test-again")(type(create("vcd")))
    assert create("vcd").name == "vcd"
