"""Option groups: dataclasses whose fields declare the options of the command line.

A new option is one field. The decorator of the group adds it to every command that has the group,
and the command receives its value in the dataclass.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any

import click

__all__ = ["Callback", "Decorator", "is_given", "option", "option_group"]

Callback = Callable[..., None]
Decorator = Callable[[Callback], Callback]

_OPTION = "option"


def is_given(context: click.Context, name: str) -> bool:
    """Return whether the user gave an option, on the command line or in a run file.

    Args:
        context: `click.Context` of the command.
        name: String. Name of the parameter.
    """
    sources = click.core.ParameterSource
    source = context.get_parameter_source(name)
    return source in (sources.COMMANDLINE, sources.DEFAULT_MAP, sources.ENVIRONMENT)


def option(*declarations: str, **attributes: Any) -> Any:
    """Declare a field of an option group.

    Args:
        *declarations: Strings. Names of the option, such as "--samples". Defaults to the name of
            the field. The parameter is named after the field in any case.
        **attributes: Any. Arguments of `click.option`. Defaults are shown in the help.

    Returns:
        A dataclass field whose default is the option's default, converted by the option's type.
    """
    attributes.setdefault("show_default", True)
    metadata = {_OPTION: (declarations, attributes)}
    return dataclasses.field(default=_field_default(attributes), metadata=metadata)


def option_group(
    keyword: str, group: type, *, only: Collection[str] | None = None, **changes: dict[str, Any]
) -> Decorator:
    """Return a decorator that adds the options of a group to a command.

    Args:
        keyword: String. Name of the argument in which the command receives the dataclass.
        group: Class. The dataclass, whose fields are declared with `option`.
        only: Collection of strings. Names of the fields that become options; the others keep their
            defaults. Defaults to None: all fields.
        **changes: Dicts. By field, arguments of `click.option` that replace those of the
            declaration.
    """
    fields = [field for field in dataclasses.fields(group) if only is None or field.name in only]

    def decorate(function: Callback) -> Callback:
        @functools.wraps(function)
        def command(*args: Any, **kwargs: Any) -> None:
            values = {field.name: kwargs.pop(field.name) for field in fields}
            kwargs[keyword] = group(**values)
            function(*args, **kwargs)

        for field in reversed(fields):  # Click lists the decorator that is applied last first.
            declarations, attributes = field.metadata[_OPTION]
            names = declarations or (f"--{field.name.replace('_', '-')}",)
            attributes = {**attributes, **changes.get(field.name, {})}
            command = click.option(field.name, *names, **attributes)(command)
        return command

    return decorate


def _field_default(attributes: dict[str, Any]) -> Any:
    if attributes.get("multiple"):
        return ()
    if attributes.get("is_flag"):
        return False
    default, type_ = attributes.get("default"), attributes.get("type")
    if default is None or not isinstance(type_, click.ParamType):
        return default
    return type_(default)
