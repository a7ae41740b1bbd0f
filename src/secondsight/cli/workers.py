"""Workers as the command line asks for them: processes, or Ray's actors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from secondsight.cli.loading import Loading
from secondsight.cli.plugins import load_plugins
from secondsight.errors import UserError

if TYPE_CHECKING:
    from secondsight.bulk.run import Carry
    from secondsight.inference import Model


def carried_by(ray: str | None, num_gpus: float) -> Carry:
    """What has the work done.

    Args:
        ray: The address of a cluster; None for processes of our own.
        num_gpus: Cards that each worker gets from Ray.

    Raises:
        UserError: Cards are asked for without Ray.
    """
    from secondsight.bulk.ray import on_ray
    from secondsight.bulk.workers import Workers

    if ray is not None:
        return on_ray(ray, num_gpus=num_gpus)
    if num_gpus:
        raise UserError("--num-gpus is for --ray; without it, see --device.")
    return Workers


def load_in_worker(loading: Loading, plugins: Sequence[Path]) -> Model:
    """Load plug-ins and the model, without a word: several workers would speak at once."""
    from transformers.utils import logging

    from secondsight.bulk.answering import placed
    from secondsight.checkpoints import load

    logging.disable_progress_bar()
    load_plugins(plugins)
    return load(**placed(vars(loading)))
