"""Runs on Ray, a cluster of this machine: the same bytes, dead actors included."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from secondsight import UserError
from secondsight.bulk.deaths import KILLED
from secondsight.bulk.merge import ANSWERS
from secondsight.bulk.run import run
from support.rote import Rote

from .conftest import Make
from .test_faults import Broken, lines

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'secondsight[ray]'")


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}},
    )
    yield
    ray.shutdown()


def on_ray(**options: Any) -> Any:
    from secondsight.bulk.ray import on_ray as carried

    return carried("local", **{"num_cpus": 0.5, **options})


def test_the_same_bytes(plan: Make) -> None:
    whole, made = plan("whole"), plan(workers=2, carry=on_ray())
    run(whole)
    summary = run(made)
    assert summary.done == 23
    assert set(summary.by_worker) <= {0, 1}
    assert (made.folder / ANSWERS).read_bytes() == (whole.folder / ANSWERS).read_bytes()


@pytest.mark.slow
def test_images_that_end_their_actor(plan: Make, images: Path) -> None:
    """By a crash, by an exception and by the memory that they take."""
    does = {"p05.png": b"crash", "p07.png": b"break", "p16.png": b"eat"}
    for name, order in does.items():
        (images / name).write_bytes(order)
    settings = {"shard_size": 6, "memory_gb": 0.8}
    made, alone = plan(workers=2, carry=on_ray(), **settings), plan("alone", **settings)
    run(made)
    run(alone)
    assert [one["id"] for one in lines(made) if one.get("error") == KILLED] == list(does)
    assert (made.folder / ANSWERS).read_bytes() == (alone.folder / ANSWERS).read_bytes()


@pytest.mark.slow
def test_what_meets_every_actor_is_a_line(plan: Make) -> None:
    with pytest.raises(UserError, match="A worker cannot go on: no such parrot"):
        run(plan(carry=on_ray(), starter=Broken()))


@pytest.mark.slow
def test_an_actor_killed_by_somebody(plan: Make) -> None:
    whole, made = plan("whole"), plan(workers=2, carry=on_ray(), starter=Rote(pause=0.05))
    run(whole)
    left = [3]

    def watch(event: Any, summary: Any) -> None:
        if left[0]:
            left[0] -= 1
            for one in psutil.process_iter(["cmdline"]):
                if "ray::_Actor" in " ".join(one.info["cmdline"] or ()):
                    one.kill()
                    break

    summary = run(made, watch)
    assert summary.deaths >= 1
    assert (made.folder / ANSWERS).read_bytes() == (whole.folder / ANSWERS).read_bytes()


@pytest.mark.slow
def test_a_node_that_is_lost(plan: Make) -> None:
    """Its actor finds no place any more; the other node's worker does what is left."""
    from ray.cluster_utils import Cluster

    ray.shutdown()
    whole, made = plan("whole"), plan(workers=2, carry=on_ray(num_cpus=1), starter=Rote(pause=0.05))
    run(whole)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    ray.init(
        address=cluster.address,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}},
    )
    lost: list[int] = []

    def watch(event: Any, summary: Any) -> None:
        if len(summary.by_worker) == 2 and not lost:
            lost.append(summary.done)
            cluster.remove_node(node)

    summary = run(made, watch)
    ray.shutdown()
    cluster.shutdown()
    assert lost
    assert summary.done == 23
    assert (made.folder / ANSWERS).read_bytes() == (whole.folder / ANSWERS).read_bytes()
