"""Options that several verbs share, as the fields of a dataclass that a verb gets as one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import fields
from typing import Any, Final, get_type_hints

Command = Callable[..., None]

_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY


def takes(
    options: type[Any], argument: str, *, without: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Give a verb's function further options.

    What the function has an argument of its own for stays as it has it.

    Args:
        options: A dataclass whose fields are options, each with a default.
        argument: The function's argument that gets an instance of it.
        without: Options that the verb is not to have.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = {name: one for name, one in signature.parameters.items() if name != argument}
        hints = get_type_hints(options, include_extras=True)
        names = [field.name for field in fields(options) if field.name not in without]
        parameters = [one.replace(kind=_KEYWORD) for one in own.values()]
        parameters += [
            inspect.Parameter(
                name, _KEYWORD, default=getattr(options, name), annotation=hints[name]
            )
            for name in names
            if name not in own
        ]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            arguments = {name: given[name] for name in own}
            arguments[argument] = options(**{name: given[name] for name in names})
            command(**arguments)

        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return run

    return decorate
