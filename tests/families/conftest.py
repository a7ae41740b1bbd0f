"""Every family, as transformers has it and as `secondsight.load` does."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import pytest

import secondsight

from .builders import FAMILIES, Built


@dataclass(frozen=True)
class Loaded:
    """A family as transformers has it and as `secondsight.load` does."""

    name: str
    built: Built
    model: secondsight.Model


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Each family in its turn."""
    built = FAMILIES[request.param]()
    folder = tmp_path_factory.mktemp("family")
    built.model.save_pretrained(folder)
    built.processor.save_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = secondsight.load(folder, device="cpu")
    return Loaded(request.param, built, model)
