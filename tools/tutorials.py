"""Run the tutorials and keep what they print and plot: ``python tools/tutorials.py [NAME ...]``.

The notebooks in docs/tutorials/ are stored with their outputs, so that the site and code hosts show
them without running anything. A test runs them anew and compares the texts.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "tutorials"
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run(path: Path) -> Any:
    """A notebook with today's outputs; progress and warnings (standard error) are left out."""
    notebook: Any = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(path.parent))
    notebook.metadata = nbformat.from_dict(_METADATA)
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    return notebook


def texts(notebook: Any) -> list[str]:
    """What its cells print, cell by cell; plots and images are left out."""
    return [
        "".join(one["text"] for one in cell.outputs if one.output_type == "stream")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def main() -> None:
    """Run the named tutorials, or all."""
    names = sys.argv[1:] or [path.stem for path in sorted(FOLDER.glob("*.ipynb"))]
    for name in names:
        path = FOLDER / f"{name}.ipynb"
        nbformat.write(run(path), path)


if __name__ == "__main__":
    main()
