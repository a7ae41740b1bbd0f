"""At the end of a run: which tests were left out, and why."""

from __future__ import annotations

from collections import defaultdict

import pytest


def report(terminal: pytest.TerminalReporter) -> None:
    """Write every skipped test under its reason, and how many there are."""
    skipped = terminal.stats.get("skipped", [])
    if not skipped:
        return
    reasons: dict[str, list[str]] = defaultdict(list)
    for one in skipped:
        text = one.longrepr[2] if isinstance(one.longrepr, tuple) else str(one.longrepr)
        reasons[text.removeprefix("Skipped: ")].append(one.nodeid)
    count = "1 test was" if len(skipped) == 1 else f"{len(skipped)} tests were"
    terminal.section(f"{count} left out", sep="=", yellow=True, bold=True)
    for reason, names in reasons.items():
        terminal.write_line(f"{reason}:", yellow=True)
        for name in sorted(names):
            terminal.write_line(f"  {name}")
