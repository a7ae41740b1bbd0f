"""Every family, as transformers has it and as `secondsight.load` does."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import pytest

import secondsight
from secondsight.errors import UnsupportedError

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
        try:
            model = secondsight.load(folder, device="cpu")
        except UnsupportedError as error:
            if "pip install" not in str(error):
                raise
            pytest.skip(str(error))
    return Loaded(request.param, built, model)
