"""The OpenAPI document holds, whatever is sent: what it allows and what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import checks
from schemathesis.checks import load_all_checks
from schemathesis.generation import GenerationMode

from .conftest import Live, serving

load_all_checks()
CHECKED = [
    checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "unsupported_method",
    )
]


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving() as start:
        yield start(queue=10_000)


def try_out(live: Live, examples: int) -> int:
    """Send requests to every route; returns how many."""
    document = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    sent = 0
    for found in document.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: schemathesis.Case) -> None:
                nonlocal sent
                sent += 1
                case.call_and_validate(checks=CHECKED, timeout=30)

            with suppress(Unsatisfiable):  # a route without anything that could be wrong
                check()
    return sent


def test_the_document_holds(live: Live) -> None:
    assert try_out(live, 5) > 30


@pytest.mark.slow
def test_the_document_holds_for_long(live: Live) -> None:
    assert try_out(live, 500) > 1000
