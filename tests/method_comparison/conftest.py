"""`method_comparison` is a folder of scripts: tests find its modules beside the package."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "method_comparison"
if str(FOLDER) not in sys.path:
    sys.path.insert(0, str(FOLDER))
