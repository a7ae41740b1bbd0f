"""Whether the packages that are installed are those that secondsight needs.

Another package's installation may put an older transformers in the place of ours, whose imports
then fail one by one. `check` says so before any of them is tried.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version

from secondsight.errors import UnsupportedError


class WrongPackageError(UnsupportedError, ImportError):
    """A package that secondsight stands on is missing, or installed in a version that it is not."""


@cache
def problems() -> tuple[str, ...]:
    """Compare what is installed with what the package's metadata asks for.

    Returns:
        A text for each package that is missing or of a wrong version, such as ``"transformers
        4.57.1 is installed, and >=5.20,<6 is needed"``.
    """
    from packaging.requirements import Requirement

    try:
        asked = [Requirement(line) for line in requires("secondsight") or ()]
    except PackageNotFoundError:  # run from its sources, which ask for nothing
        return ()
    found = []
    for one in asked:
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        try:
            there = version(one.name)
        except PackageNotFoundError:
            found.append(f"{one.name} is not installed, and {one.specifier or 'it'} is needed")
            continue
        if not one.specifier.contains(there, prereleases=True):
            needed = ",".join(sorted(map(str, one.specifier), reverse=True))
            found.append(f"{one.name} {there} is installed, and {needed} is needed")
    return tuple(found)


def check() -> None:
    """Refuse to go on with packages that do not fit.

    Raises:
        WrongPackageError: A package is missing, or of a version outside the range that is promised.
    """
    found = problems()
    if found:
        raise WrongPackageError(f"{'; '.join(found)}. Mend it: pip install --upgrade secondsight")
