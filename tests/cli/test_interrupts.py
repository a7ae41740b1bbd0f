"""Ctrl-C in processes of their own: exit code 130 with a word, whatever they are doing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import process

READY = "print('ready', flush=True)"
START = "from secondsight.cli import interrupts\ninterrupts.start()\n"
SLEEP = f"{READY}\nimport time\ntime.sleep(60)\n"
ENDLESS_C = f"{READY}\nimport hashlib\nhashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)\n"
COMMAND = "from secondsight.cli import main\nfrom secondsight.cli.commands import Commands\n"


def indented(code: str) -> str:
    return "".join(f"    {line}\n" for line in code.splitlines())


def in_a_verb(code: str, grace: float = 0.3) -> str:
    """A program whose verb runs some code."""
    body = f"def invoke(self, ctx):\n{indented(code)}Commands.invoke = invoke\n"
    patience = f"from secondsight.cli import interrupts\ninterrupts.GRACE_S = {grace}\n"
    return f"{COMMAND}{patience}{body}main()"


def interrupted(code: str, times: int = 1, arguments: tuple[str, ...] = ("methods",)) -> str:
    """Run a program until it is ready, interrupt it, and check its end; what it said."""
    with process.start([sys.executable, "-c", code, *arguments]) as child:
        for _ in range(times):
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "Traceback" not in err
    assert "Interrupted." in err
    return err


def test_while_the_program_starts() -> None:
    assert interrupted(START + SLEEP) == "Interrupted.\n"


def test_a_verb_is_interrupted_by_an_exception() -> None:
    assert interrupted(in_a_verb(SLEEP, grace=60)) == "Interrupted.\n"


def test_what_is_open_is_closed() -> None:
    code = f"import sys\ntry:\n{indented(SLEEP)}finally:\n    print('closed', file=sys.stderr)"
    assert interrupted(in_a_verb(code, grace=60)) == "closed\nInterrupted.\n"


@pytest.mark.parametrize(
    "error", ["ImportError('numpy failed')", "ValueError()", "SystemExit(0)", "OSError(5, 'x')"]
)
def test_another_exception_that_the_interrupt_became(error: str) -> None:
    code = f"try:\n{indented(SLEEP)}except KeyboardInterrupt:\n    raise {error}"
    assert interrupted(in_a_verb(code, grace=60)) == "Interrupted.\n"


def test_an_interrupt_that_is_swallowed() -> None:
    swallowed = f"try:\n{indented(SLEEP)}except:\n    pass\n"
    assert interrupted(in_a_verb(swallowed, grace=60)) == "Interrupted.\n"
    assert interrupted(in_a_verb(f"{swallowed}time.sleep(60)")) == "Interrupted.\n"


def test_an_interrupt_that_a_callback_swallows_is_not_reported() -> None:
    code = f"class Odd:\n    def __del__(self):\n{indented(indented(SLEEP))}\nOdd()\ntime.sleep(60)"
    assert interrupted(in_a_verb(f"import time\n{code}")) == "Interrupted.\n"


def test_while_a_command_imports(tmp_path: Path) -> None:
    module = f"try:\n{indented(SLEEP)}except BaseException:\n    raise SystemError('in C++')\n"
    (tmp_path / "slow.py").write_text(module)
    code = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport slow"
    assert interrupted(in_a_verb(code, grace=60)) == "Interrupted.\n"


def test_c_code_that_does_not_return() -> None:
    assert interrupted(in_a_verb(ENDLESS_C)) == "Interrupted.\n"


@pytest.mark.parametrize("rest", [SLEEP, ENDLESS_C])
def test_a_second_one_ends_the_process_at_once(rest: str) -> None:
    code = f"try:\n{indented(SLEEP)}except KeyboardInterrupt:\n{indented(rest)}"
    interrupted(in_a_verb(code, grace=600), times=2)


def test_a_command_with_a_handler_of_its_own_ends_in_its_own_time() -> None:
    body = (
        "import signal, time, threading\n"
        "asked = threading.Event()\n"
        "signal.signal(signal.SIGINT, lambda *args: asked.set())\n"
        f"{READY}\nasked.wait()\ntime.sleep(1)\nprint('drained', flush=True)"
    )
    with process.start([sys.executable, "-c", in_a_verb(body), "methods"]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (0, "drained\n", "")


def test_while_the_program_ends() -> None:
    code = f"import atexit\n@atexit.register\ndef end():\n{indented(SLEEP)}"
    assert interrupted(f"{code}{in_a_verb('pass')}") == "Interrupted.\n"


def test_a_program_that_ignores_interrupts_goes_on_ignoring_them() -> None:
    code = f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{READY}\n" + in_a_verb(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('done')"
    )
    with process.start([sys.executable, "-c", code, "methods"]) as child:
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (0, "ready\ndone\n", "")


def test_the_library_leaves_signals_alone() -> None:
    code = (
        "import signal\nbefore = signal.getsignal(signal.SIGINT)\n"
        "import secondsight, secondsight.cli.main\n"
        "assert signal.getsignal(signal.SIGINT) is before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
