"""What the commands write, and where: answers on stdout, everything else on stderr."""

from __future__ import annotations

import os
import warnings
from typing import Any, NoReturn

from rich.console import Console

from secondsight.errors import Remark


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


def _say_remark(message: Warning | str, *place: Any, **options: Any) -> None:
    say(f"Note: {message}")


def quiet() -> None:
    """Keep the libraries' remarks and progress bars off the terminal; ours are said in a line."""
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", category=Remark)
    warnings.showwarning = _say_remark
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
