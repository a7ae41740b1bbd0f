"""Ctrl-C at random moments of a program's life: exit code 130, a word, and no traceback.

    python tests/fuzz/interrupts.py --tries 200

Each try starts a command as a process of its own and interrupts it at a moment between its start
and its end. Python itself needs some time before it runs the first line of any program; an
interrupt in it ends the process in Python's way, and is counted apart.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.process import start

MAIN = "import sys\nfrom secondsight.cli import main\nsys.exit(main())"
TOO_LONG = 60.0


def commands(folder: Path) -> dict[str, list[object]]:
    """What is interrupted: answering, a list, and what imports little."""
    from secondsight.images import demo_image

    listed = folder / "list.jsonl"
    listed.write_text(f'{{"image": "{demo_image()}"}}\n' * 6)
    short = ["--max-new-tokens", 20]
    return {
        "describe": ["describe", *short],
        "list": ["describe", "--list", listed, "--out", folder / "out.jsonl", *short,
                 "--batch-size", 2],
        "methods": ["methods"],
        "help": ["--help"],
    }  # fmt: skip


def attempt(rng: random.Random, command: list[object], seconds: float) -> tuple[str, str]:
    """Interrupt a command once; what came of it."""
    with start([sys.executable, "-c", MAIN, *command]) as process:
        moment = rng.uniform(0, seconds)
        time.sleep(moment)
        if process.poll() is not None:
            process.communicate()
            return "had ended", ""
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        try:
            out, err = process.communicate(timeout=TOO_LONG)
        except subprocess.TimeoutExpired:
            process.kill()
            return "wrong", f"at {moment:.2f} s: still running after {TOO_LONG} s"
    took = time.monotonic() - began
    detail = f"at {moment:.3f} s, {took:.1f} s later: code {process.returncode}, {err[-300:]!r}"
    if process.returncode == 130 and "Interrupted" in err and "Traceback" not in out + err:
        return ("right" if took < 10 else "slow"), detail
    if process.returncode in (1, -signal.SIGINT) and "secondsight" not in err:
        return "before the first line", detail
    if process.returncode == 0 and took < 0.5:  # its work was done
        return "had ended", detail
    return "wrong", detail


def main() -> int:
    """The command line; 1 if anything was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tries", type=int, default=200, help="interrupts that count")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="this command alone")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        known = commands(Path(folder))
        names = [options.only] if options.only else list(known)
        lengths = {}
        for name in names:
            began = time.monotonic()
            with start([sys.executable, "-c", MAIN, *known[name]]) as process:
                process.communicate()
            lengths[name] = time.monotonic() - began
            (Path(folder) / "out.jsonl").unlink(missing_ok=True)
        print("seconds:", {name: round(one, 2) for name, one in lengths.items()}, flush=True)
        counted = 0
        while counted < options.tries:
            name = rng.choice(names)
            result, detail = attempt(rng, known[name], lengths[name] * 1.1)
            counts[name, result] += 1
            counted += result not in ("had ended", "before the first line")
            (Path(folder) / "out.jsonl").unlink(missing_ok=True)
            if result in ("wrong", "slow"):
                print(f"{name}: {result}: {detail}", flush=True)
    for (name, result), count in sorted(counts.items()):
        print(f"{name:10} {result:24} {count:6}")
    print(f"{sum(n for (_, one), n in counts.items() if one == 'right')} of {options.tries} right")
    return int(any(result in ("wrong", "slow") for _, result in counts))


if __name__ == "__main__":
    sys.exit(main())
