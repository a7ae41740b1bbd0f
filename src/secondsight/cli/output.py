"""What the commands write, and where: answers on stdout, everything else on stderr."""

from __future__ import annotations

import os
import warnings
from typing import NoReturn

from rich.console import Console


class Output(Console):
    """A console that lets a closed pipe reach the root command."""

    def on_broken_pipe(self) -> NoReturn:
        """Leave it to the root command, which ends quietly."""
        raise BrokenPipeError


def stdout() -> Console:
    """A console for results."""
    return Output()


def stderr() -> Console:
    """A console for progress and remarks."""
    return Output(stderr=True)


def say(message: str) -> None:
    """Write one line on stderr, exactly as it is."""
    line = " ".join(message.split("\n"))
    stderr().print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


def quiet() -> None:
    """Keep the libraries' own remarks and progress bars off the terminal."""
    warnings.filterwarnings("ignore")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
