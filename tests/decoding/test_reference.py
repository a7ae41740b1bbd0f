"""Every method against a slow and obvious version: full forward passes without a cache, one view
and one sample at a time, and the formulas in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from transformers import LogitsProcessor, LogitsProcessorList

import secondsight
from reference import JUDGED
from reference.avisc import blind, only_blind
from reference.llama import Llama
from reference.pai import Amplified
from reference.sid import Pruned
from secondsight.decoding import SCHEDULES
from secondsight.decoding.collate import join, padding_id
from secondsight.methods import create
from secondsight.views import add_diffusion_noise

TOKENS = 12
QUESTIONS = ("Is there a dog?", "Please describe this image in detail.", "What colour is it? Red?")
SIZES = ((60, 40), (31, 77), (42, 42))
INSIDE = "alb"

Formula = Callable[[list[np.ndarray], int], np.ndarray]


def keep(scores: np.ndarray, original: np.ndarray, beta: float) -> np.ndarray:
    return np.where(original >= original.max() + np.log(beta), scores, -np.inf)


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max()
    return x - np.log(np.exp(x).sum())


def lcd(v: list[np.ndarray], alpha: float, beta: float, entropy: bool) -> np.ndarray:
    seen, blind = log_softmax(v[0]), log_softmax(v[1])
    weight = alpha / -(np.exp(blind) * blind).sum() if entropy else alpha
    return log_softmax(keep((1 + weight) * seen - weight * blind, v[0], beta))


def official_agla(v: list[np.ndarray], t: int) -> np.ndarray:
    return keep(v[0] + 2 * (v[0] if t else v[1]), v[0], 0.5)


def m3id(v: list[np.ndarray], t: int, decay: float) -> np.ndarray:
    g = math.exp(-decay * t)
    return v[0] + (1 - g) / g * (v[0] - v[1])


def m3id_paper(v: list[np.ndarray], t: int, decay: float, alpha: float) -> np.ndarray:
    image, text = log_softmax(v[0]), log_softmax(v[1])
    if image.max() >= math.log(alpha):
        return image
    g = math.exp(-decay * (t + 1))
    return image + (1 - g) / g * (image - text)


def ritual_m3id(v: list[np.ndarray], t: int, decay: float) -> np.ndarray:
    g = math.exp(-decay * t)
    return v[0] + 3 * v[1] + (1 - g) / g * (v[0] - v[2])


def pai(v: list[np.ndarray], t: int, gamma: float) -> np.ndarray:
    return gamma * log_softmax(v[1]) - (gamma - 1) * log_softmax(v[2])


METHODS: dict[str, tuple[str, Formula]] = {
    "regular": ("", lambda v, t: v[0]),
    "greedy": ("", lambda v, t: keep(v[0], v[0], 1.0)),
    "apc": ("", lambda v, t: keep(v[0], v[0], 0.1)),
    "sharpened": ("", lambda v, t: v[0] / 0.25),
    "sharpened:temperature=2": ("", lambda v, t: v[0] / 2),
    "identity": ("o", lambda v, t: keep(v[0] + 3 * v[1], v[0], 0.1)),
    "ritual": ("+", lambda v, t: keep(v[0] + 3 * v[1], v[0], 0.1)),
    "ritual:alpha=0.5,beta=0.01": ("+", lambda v, t: keep(v[0] + 0.5 * v[1], v[0], 0.01)),
    "ritual:beta=0": ("+", lambda v, t: v[0] + 3 * v[1]),
    "ritual+": ("+", lambda v, t: keep(v[0] + 3 * v[1], v[0], 0.1)),
    "vcd": ("-", lambda v, t: keep(2 * v[0] - v[1], v[0], 0.1)),
    "vcd:alpha=2.5,beta=0.02": ("-", lambda v, t: keep(3.5 * v[0] - 2.5 * v[1], v[0], 0.02)),
    "m3id": ("t", lambda v, t: keep(m3id(v, t, 0.02), v[0], 0.1)),
    "m3id:decay=0.4,beta=0.01": ("t", lambda v, t: keep(m3id(v, t, 0.4), v[0], 0.01)),
    "m3id:variant=paper": ("t", lambda v, t: m3id_paper(v, t, 0.02, 0.3)),
    "m3id:decay=0.5,gate=0.9": ("t", lambda v, t: m3id_paper(v, t, 0.5, 0.9)),
    "icd": ("r", lambda v, t: keep(2 * v[0] - v[1], v[0], 0.1)),
    "icd:alpha=0.5,beta=0.01": ("r", lambda v, t: keep(1.5 * v[0] - 0.5 * v[1], v[0], 0.01)),
    "lcd": ("t", lambda v, t: lcd(v, 2, 0.1, True)),
    "lcd:alpha=0.3,entropy=false,beta=0.01": ("t", lambda v, t: lcd(v, 0.3, 0.01, False)),
    "agla": ("+", lambda v, t: keep(v[0] + 2 * v[1], v[0], 0.5)),
    "agla:alpha=1,beta=0.01": ("+", lambda v, t: keep(v[0] + v[1], v[0], 0.01)),
    "agla:official=true": ("+", official_agla),
    "pai": ("at", lambda v, t: keep(pai(v, t, 1.1), v[1], 0.1)),
    "pai:gamma=3,beta=0.01": ("at", lambda v, t: keep(pai(v, t, 3), v[1], 0.01)),
    "pai:gamma=1": ("a", lambda v, t: v[1]),
    "sid": ("l", lambda v, t: keep(1.5 * v[0] - 0.5 * v[1], v[0], 0.1)),
    "sid:alpha=2,beta=0.01": ("l", lambda v, t: keep(3 * v[0] - 2 * v[1], v[0], 0.01)),
    "avisc": ("b", lambda v, t: keep(2 * v[0] - v[1], v[0], 0.1)),
    "avisc:alpha=3,beta=0.01": ("b", lambda v, t: keep(4 * v[0] - 3 * v[1], v[0], 0.01)),
    "ritual+vcd": ("+-", lambda v, t: keep(v[0] + 3 * v[1] + (v[0] - v[2]), v[0], 0.1)),
    "ritual+m3id": ("+t", lambda v, t: keep(ritual_m3id(v, t, 0.02), v[0], 0.1)),
    "ritual+m3id:decay=0.3": ("+t", lambda v, t: keep(ritual_m3id(v, t, 0.3), v[0], 0.1)),
}


class World:
    """Three samples, all their views, and the slow way to decode them."""

    def __init__(self, model: secondsight.Model, picture: Callable[..., Image.Image]) -> None:
        self.model = model
        pictures = [picture(10 + i, size) for i, size in enumerate(SIZES)]
        original = [model.encode(p, q) for p, q in zip(pictures, QUESTIONS, strict=True)]
        noise = torch.Generator().manual_seed(5)
        self.views = {
            "o": original,
            "+": [
                model.encode(ImageOps.mirror(p), q)
                for p, q in zip(pictures, QUESTIONS, strict=True)
            ],
            "-": [
                one | {"pixel_values": add_diffusion_noise(one["pixel_values"], 500, noise)}
                for one in original
            ],
            "t": [model.encode(None, q) for q in QUESTIONS],
            "r": [
                model.encode_sample(secondsight.Sample(p, q, role="You are a dog."))
                for p, q in zip(pictures, QUESTIONS, strict=True)
            ],
            "l": original,
            "b": original,
        }
        self.llama = Llama(model.hf_model)
        self._slow: dict[tuple[str, int, tuple[int, ...]], np.ndarray] = {}

    @torch.no_grad()
    def logits(self, view: str, sample: int, tokens: Sequence[int]) -> np.ndarray:
        """Next-token logits from one full pass over one row; only the prompt has slots."""
        key = (view, sample, tuple(tokens))
        if key not in self._slow:
            hf, inputs = self.model.hf_model, self.views[view][sample]
            prompt = inputs["input_ids"]
            ids = torch.cat([prompt, torch.tensor([list(tokens)], dtype=torch.long)], dim=-1)
            embeds = hf.get_input_embeddings()(ids).clone()
            if "pixel_values" in inputs:
                features = hf.model.get_image_features(pixel_values=inputs["pixel_values"])
                slots = prompt[0] == hf.config.image_token_id
                embeds[0, : prompt.shape[1]][slots] = torch.cat(list(features.pooler_output))
            hidden = hf.model.language_model(inputs_embeds=embeds, use_cache=False)[0][0, -1]
            self._slow[key] = hf.lm_head(hidden).double().numpy()
        return self._slow[key]

    def inside(self, view: str, sample: int, tokens: Sequence[int]) -> np.ndarray:
        """The same for views that change something inside the model, by a Llama by hand.

        Args:
            view: ``a``, attention to the image amplified as PAI does; ``l``, SID's least attended
                image tokens; ``b``, AvisC's blind ones.
            sample: Which sample.
            tokens: What is written.
        """
        hf, inputs = self.model.hf_model, self.views["o"][sample]
        ids = inputs["input_ids"][0].tolist()
        places = [place for place, token in enumerate(ids) if token == hf.config.image_token_id]
        image, end = (places[0], places[-1] + 1), len(ids) - 1
        embeddings = self.llama.embed(ids + list(tokens), inputs["pixel_values"])
        llama = self.llama
        if view == "a":
            llama = Amplified(hf, image, end, range(llama.depth), 0.2)
        elif view == "l":
            llama = Pruned(hf, image, end, 1, round(0.17 * len(places)))
        else:
            attention = llama.run(embeddings[: end + 1]).attention
            seen = blind(attention, end, image, 0.5, 1.0).tokens
            embeddings = only_blind(embeddings, image, seen, 0.0)
        logits = llama.logits(llama.run(embeddings).hidden[-1][-1])
        return logits.double().numpy()

    def slow(
        self, views: str, formula: Formula, sample: int, seed: int | None
    ) -> tuple[list[int], list[np.ndarray]]:
        """Tokens and scores of one sample."""
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        tokens: list[int] = []
        every = []
        for step in range(TOKENS):
            logits = [
                (self.inside if view in INSIDE else self.logits)(view, sample, tokens)
                for view in "o" + views
            ]
            scores = formula(logits, step)
            every.append(scores)
            if generator is None:
                tokens.append(int(scores.argmax()))
            else:
                q = torch.empty(len(scores)).exponential_(1, generator=generator).double().numpy()
                tokens.append(int((np.exp(log_softmax(scores)) / q).argmax()))
        return tokens, every

    def fast(self, method: str, views: str, seeds: list[int] | None, **options: Any) -> Any:
        """What `decode` gives for the whole batch."""
        pad = padding_id(self.model.hf_model)
        original = join(self.views["o"], pad)
        return self.model.hf_model.generate(
            **original,
            custom_generate=secondsight.decode,
            method=method,
            views=[self.views[view] for view in views if view != "a"],
            seeds=seeds,
            do_sample=seeds is not None,
            top_k=0,
            temperature=1.0,
            eos_token_id=None,
            **{"max_new_tokens": TOKENS, **options},
        )


@pytest.fixture(scope="module")
def world(model: secondsight.Model, picture: Callable[..., Image.Image]) -> World:
    return World(model, picture)


@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_and_schedule(world: World, method: str, sampled: bool) -> None:
    views, formula = METHODS[method]
    seeds = [21, 22, 23] if sampled else None
    want = [
        world.slow(views, formula, sample, seeds[sample] if seeds else None) for sample in range(3)
    ]
    for schedule in SCHEDULES:
        ids = world.fast(method, views, seeds, schedule=schedule)[:, -TOKENS:].tolist()
        assert ids == [tokens for tokens, _ in want], schedule
    output = world.fast(method, views, seeds, output_scores=True, return_dict_in_generate=True)
    for step, scores in enumerate(output.scores):
        slow = np.stack([every[step] for _, every in want])
        assert (np.isfinite(scores.numpy()) == np.isfinite(slow)).all()
        size = np.abs(slow[np.isfinite(slow)]).max()  # a large weight magnifies float32's steps
        np.testing.assert_allclose(scores.numpy(), slow, rtol=2e-4, atol=2e-3 + 4e-6 * size)


def test_every_registered_method_is_compared() -> None:
    ours = {name for name in secondsight.methods.names() if name in METHODS}
    shipped = {
        name
        for name in secondsight.methods.names()
        if secondsight.methods.get(name).__module__.startswith("secondsight.")
        and create(name).checks() is None  # a check is judged where it is done, beside the answers
    }
    assert ours | JUDGED == shipped
    for spec, (views, _) in METHODS.items():
        others = views.replace("a", "")  # the base itself
        assert len(others) == len(create(spec).views(secondsight.Sample(None, "?"))) - 1


def test_the_comparison_is_worth_something(world: World) -> None:
    """Views change tokens, and about half of the steps keep one plausible token."""
    regular = [world.slow("", METHODS["regular"][1], sample, None)[0] for sample in range(3)]
    for method in ("ritual", "vcd", "m3id:decay=0.4,beta=0.01"):
        views, formula = METHODS[method]
        assert regular != [world.slow(views, formula, sample, None)[0] for sample in range(3)]
    plausible = [
        int(np.isfinite(scores).sum())
        for sample in range(3)
        for scores in world.slow("", METHODS["apc"][1], sample, 3)[1]
    ]
    assert 0.2 < np.mean(np.array(plausible) == 1) < 0.8


def forwards(model: secondsight.Model) -> tuple[list[int], list[int], Callable[[], None]]:
    """Rows of every forward pass, and pictures of every pass of the vision tower."""
    rows: list[int] = []
    pictures: list[int] = []
    hooks = [
        model.hf_model.register_forward_pre_hook(
            lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
        ),
        model.hf_model.model.vision_tower.register_forward_pre_hook(
            lambda _, args, kwargs: pictures.append(
                len(args[0] if args else kwargs["pixel_values"])
            ),
            with_kwargs=True,
        ),
    ]
    return rows, pictures, lambda: [hook.remove() for hook in hooks] and None


@pytest.mark.parametrize("method", ["regular", "ritual", "vcd", "m3id", "ritual+vcd"])
def test_joint_is_one_forward_per_step(world: World, method: str) -> None:
    views = METHODS[method][0]
    rows, pictures, stop = forwards(world.model)
    try:
        world.fast(method, views, None, schedule="joint")
    finally:
        stop()
    assert rows == [3 * (1 + len(views))] * TOKENS
    assert sum(pictures) == 3 * (1 + len(views.replace("t", "")))


@pytest.mark.parametrize("schedule", ["lazy", "auto"])
def test_a_view_that_is_never_needed_never_sees_its_image(world: World, schedule: str) -> None:
    rows, pictures, stop = forwards(world.model)
    try:
        world.fast("ritual:beta=1", "+", None, schedule=schedule)
    finally:
        stop()
    assert sum(pictures) == 3
    assert rows == [3] * TOKENS


def test_only_the_samples_that_need_it_take_part(world: World) -> None:
    """The first step of a lazy run encodes the second pictures of undecided samples alone."""
    undecided = [
        int(np.isfinite(METHODS["apc"][1]([world.logits("o", sample, [])], 0)).sum()) > 1
        for sample in range(3)
    ]
    rows, pictures, stop = forwards(world.model)
    try:
        world.fast("vcd", "-", None, schedule="lazy", max_new_tokens=1)
    finally:
        stop()
    assert sum(pictures) == 3 + sum(undecided)
    assert sum(rows) == 3 + sum(undecided)


class Always(LogitsProcessor):
    """Lets nothing but some tokens through, one list per step."""

    def __init__(self, tokens: Sequence[int], width: int) -> None:
        self.tokens = tokens
        self.width = width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self.width
        if step >= len(self.tokens):
            return scores
        forced = torch.full_like(scores, -math.inf)
        forced[:, self.tokens[step]] = 0
        return forced


@pytest.mark.parametrize("method", ["ritual", "vcd", "m3id", "ritual+vcd"])
def test_a_written_image_token_is_no_slot(world: World, method: str) -> None:
    """A model may write the id that marks slots; a view that is read late must not trip on it."""
    image = world.model.hf_model.config.image_token_id
    width = max(one["input_ids"].shape[1] for one in world.views["o"])
    written = {}
    for schedule in SCHEDULES:
        processors = LogitsProcessorList([Always([image, image, 50], width)])
        ids = world.fast(
            method, METHODS[method][0], None, schedule=schedule, logits_processor=processors
        )
        written[schedule] = ids[:, -TOKENS:].tolist()
        assert ids[0, -TOKENS:][:3].tolist() == [image, image, 50]
    assert written["lazy"] == written["joint"] == written["auto"]


class Lift(LogitsProcessor):
    """Gives two tokens a fixed score, whatever plausibility says."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        scores[:, 60:64] = 45.0 + input_ids.shape[1] % 3
        return scores


@pytest.mark.parametrize("sampled", [False, True])
def test_a_processor_that_reads_scores_does_not_tell_schedules_apart(
    world: World, sampled: bool
) -> None:
    seeds = [1, 2, 3] if sampled else None
    written = [
        world.fast(
            "vcd", "-", seeds, schedule=schedule, logits_processor=LogitsProcessorList([Lift()])
        ).tolist()
        for schedule in SCHEDULES
    ]
    assert written[0] == written[1] == written[2]


@pytest.mark.parametrize("method", ["apc", "greedy", "ritual", "vcd", "m3id", "ritual+m3id"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("extra", [{}, {"renormalize_logits": True}], ids=["plain", "normalized"])
def test_where_every_plausible_token_is_banned(
    world: World, method: str, schedule: str, extra: dict[str, Any]
) -> None:
    """The confident token may not be written yet: plausibility is judged among the rest."""
    views, formula = METHODS[method]
    first = [world.slow(views, formula, sample, None)[0][0] for sample in range(3)]
    config = world.model.hf_model.generation_config
    before = config.eos_token_id
    config.eos_token_id = sorted(set(first))
    try:
        pad = padding_id(world.model.hf_model)
        ids = world.model.hf_model.generate(
            **join(world.views["o"], pad),
            custom_generate=secondsight.decode,
            method=method,
            views=[world.views[view] for view in views],
            schedule=schedule,
            min_new_tokens=1,
            max_new_tokens=1,
            do_sample=False,
            **extra,
        )
    finally:
        config.eos_token_id = before
    for sample in range(3):
        logits = [world.logits(view, sample, []) for view in "o" + views]
        scores = formula(logits, 0).copy()
        scores[first] = -np.inf
        if not np.isfinite(scores).any():
            logits[0] = logits[0].copy()
            logits[0][first] = -1e9
            scores = formula(logits, 0)
            scores[first] = -np.inf
        assert int(ids[sample, -1]) == int(scores.argmax())


@pytest.mark.parametrize("method", ["apc", "ritual"])
def test_an_exponential_length_penalty_does_not_end_at_once(world: World, method: str) -> None:
    """The penalty of an implausible end is infinite on both sides; that must not be a number."""
    views, _ = METHODS[method]
    free = world.fast(method, views, None)[:, -TOKENS:].tolist()
    assert all(2 not in tokens for tokens in free)
    config = world.model.hf_model.generation_config
    pad = padding_id(world.model.hf_model)
    ids = world.model.hf_model.generate(
        **join(world.views["o"], pad),
        custom_generate=secondsight.decode,
        method=method,
        views=[world.views[view] for view in views],
        exponential_decay_length_penalty=(3, 1.01),
        eos_token_id=config.eos_token_id,
        max_new_tokens=TOKENS,
        do_sample=False,
    )[:, -TOKENS:].tolist()
    assert ids == free
