"""What CHANGELOG.md says of a version: ``python tools/release_notes.py 0.2.0``."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"


def notes(changelog: str, version: str) -> str | None:
    """The section of a version, without its heading; None where there is none or it is empty."""
    sections = re.split(r"^## +", changelog, flags=re.MULTILINE)[1:]
    for section in sections:
        heading, _, text = section.partition("\n")
        named = re.match(r"\[?([^\]\s]+)", heading)
        if named is not None and named[1].removeprefix("v") == version:
            return text.strip() or None
    return None


def main() -> int:
    """Write the section, or say that a release lacks it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    version = parser.parse_args().version
    found = notes(CHANGELOG.read_text(encoding="utf-8"), version)
    if found is None:
        print(f"CHANGELOG.md says nothing of version {version}.", file=sys.stderr)
        return 1
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
