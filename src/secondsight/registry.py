"""Things known by name: decoding methods, benchmarks, families of models, and users' own.

An entry is a class or function that a decorator names. It comes from one of three places: a module
of the package that ships the kind (imported when its name is first asked for), an entry point of
an installed package, or a user's own code, which has run the decorator itself.
"""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, ClassVar, Final, Generic, TypeVar

from secondsight.errors import UserError, nearest

T = TypeVar("T")
C = TypeVar("C")

_DECORATOR: Final = "register"
_SEPARATORS: Final = frozenset(":,;= \t\r\n")
"""What separates names, parameters and values on the command line."""


@dataclass(frozen=True)
class Shipped:
    """An entry that a module of a package registers.

    Attributes:
        name: The name that it is registered under.
        module: The module's full name.
        attribute: What the class or function is called there.
    """

    name: str
    module: str
    attribute: str


@lru_cache
def shipped(package: str) -> tuple[Shipped, ...]:
    """What a package's modules register, read from their sources: none of them is imported.

    Classes and functions at the top of a module count whose decorator is ``register("name")``. A
    module that comes without its source is imported instead, and registers by itself.

    Args:
        package: The package's full name; its parents are imported, it is not.
    """
    home = find_spec(package)
    found: list[Shipped] = []
    for info in pkgutil.iter_modules(home.submodule_search_locations if home else None):
        module = f"{package}.{info.name}"
        loader: Any = info.module_finder.find_spec(module, None).loader  # type: ignore[union-attr]
        source = loader.get_source(module)
        if source is None:
            import_module(module)
        else:
            found += [Shipped(name, module, what) for name, what in _registrations(source)]
    return tuple(found)


def _registrations(source: str) -> Iterator[tuple[str, str]]:
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if not isinstance(decorator, ast.Call) or not decorator.args:
                continue
            called = ast.unparse(decorator.func).rpartition(".")[2]
            first = decorator.args[0]
            if called == _DECORATOR and isinstance(first, ast.Constant):
                yield str(first.value), node.name


class Registry(Generic[T]):
    """The entries of one kind, by name.

    Args:
        kind: What an entry is called in messages, such as ``method``.
        package: The package whose modules register the entries that ship.
        group: The entry points of other packages, such as ``secondsight.methods``.
        accept: Checks what is registered under a name and returns what `get` returns; raises a
            `UserError` for what cannot be an entry.
        error: The class of errors that are raised here.
    """

    all: ClassVar[list[Registry[Any]]] = []
    """Every registry that has been made, in order."""

    def __init__(
        self,
        kind: str,
        *,
        package: str,
        group: str,
        accept: Callable[[str, object], T],
        error: type[UserError] = UserError,
    ) -> None:
        self.kind = kind
        self.group = group
        self._package = package
        self._accept = accept
        self._error = error
        self._registered: dict[str, tuple[T, tuple[str, str]]] = {}
        self._failures: dict[EntryPoint, str | None] = {}
        Registry.all.append(self)

    def register(self, name: str) -> Callable[[C], C]:
        """Class or function decorator: make it known by a name.

        Args:
            name: The name; it must not contain ``:``, ``,``, ``;``, ``=`` or blanks.

        Raises:
            UserError: The name is another's, or cannot be written on a command line. A notebook's
                cell may define its own class again.
        """
        if not name or set(name) & _SEPARATORS:
            raise self._error(
                f"A {self.kind} cannot be called {name!r}: no blanks, ':', ',', ';' or '='."
            )

        def add(thing: C) -> C:
            home, owner = _home(thing), self._owner(name)
            if owner is not None and home not in owner:
                raise self._error(
                    f"The {self.kind} name {name!r} is taken by {'.'.join(owner[0])}; "
                    f"{'.'.join(home)} cannot have it too."
                )
            self._registered[name] = self._accept(name, thing), home
            return thing

        return add

    def names(self) -> list[str]:
        """Every name, sorted, those of broken entry points among them; nothing is loaded."""
        return sorted({*self._registered, *(one.name for one in self._shipped), *self._points})

    def find(self, name: str) -> T | None:
        """The entry of a name, loaded if need be; None where there is none.

        Raises:
            UserError: Its entry point is broken, or several packages claim the name.
        """
        for one in self._shipped:
            if one.name == name:
                import_module(one.module)
        for point in self._points.get(name, ()):
            self._load(point)
        entry = self._registered.get(name)
        return None if entry is None else entry[0]

    def get(self, name: str) -> T:
        """The entry of a name, loaded if need be.

        Raises:
            UserError: There is none, and then the nearest name is said; its entry point is
                broken; several packages claim the name.
        """
        entry = self.find(name)
        if entry is None:
            raise self._error(f"No {self.kind} is called {name!r}.{nearest(name, self.names())}")
        return entry

    def entries(self) -> tuple[dict[str, T], dict[str, UserError]]:
        """All entries by name, loaded, and the errors of those that cannot be."""
        loaded: dict[str, T] = {}
        broken: dict[str, UserError] = {}
        for name in self.names():
            try:
                loaded[name] = self.get(name)
            except UserError as error:
                broken[name] = error
        return loaded, broken

    @property
    def registered(self) -> Mapping[str, tuple[T, tuple[str, str]]]:
        """What has been registered so far: the entry, and the module and name it is from."""
        return MappingProxyType(self._registered)

    @property
    def _shipped(self) -> tuple[Shipped, ...]:
        return shipped(self._package)

    @cached_property
    def _points(self) -> dict[str, list[EntryPoint]]:
        """The entry points of installed packages, by name."""
        points: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            points.setdefault(point.name, []).append(point)
        return points

    def _owner(self, name: str) -> list[tuple[str, str]] | None:
        """Whose a name is already: what is registered, else what ships, imported or not."""
        if name in self._registered:
            return [self._registered[name][1]]
        return [(one.module, one.attribute) for one in self._shipped if one.name == name] or None

    def _load(self, point: EntryPoint) -> None:
        """Load an entry point, once; what is wrong with it is said whenever it is asked for."""
        if point not in self._failures:
            try:
                self.register(point.name)(point.load())
                self._failures[point] = None
            except Exception as error:  # whatever a package does wrong is for its authors to mend
                own = isinstance(error, UserError)
                self._failures[point] = str(error) if own else f"{type(error).__name__}: {error}"
        failure = self._failures[point]
        if failure is not None:
            owner = f"the package {point.dist.name!r}" if point.dist else "an installed package"
            raise self._error(
                f"The {self.kind} {point.name!r} of {owner} ({point.value}) cannot be used: "
                f"{failure}"
            )


def _home(thing: object) -> tuple[str, str]:
    """Where a class is from: a notebook's cell may define it again, another file may not."""
    module = getattr(thing, "__module__", type(thing).__module__)
    return str(module), str(getattr(thing, "__qualname__", repr(thing)))
