"""Which sites of a model are converted: by name, glob, class or a function of the site."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

import keras

from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.sites.site import LocatedSite

__all__ = ["Selector", "select"]

Selector = Any


def select(
    located: list[LocatedSite], model: keras.Model, include: Selector, exclude: Selector
) -> list[LocatedSite]:
    """The sites to convert.

    Args:
        located: All sites of a model.
        model: The model, for messages.
        include: A path, layer name or glob, a layer class, a function of a `Site`, or a list of
            these; None for all but smooth ones.
        exclude: Likewise.

    Raises:
        InvalidArgumentError: A selector is none of these, or names no site.
        ConversionError: No site is left; the message says what was found.
    """
    included, excluded = (
        _predicates("include", include, located),
        _predicates("exclude", exclude, located),
    )
    selected = [
        item
        for item in located
        if item.site.convertible
        and (
            any(accepts(item) for accepts in included)
            if include is not None
            else not item.site.on_request
        )
        and not any(accepts(item) for accepts in excluded)
    ]
    if not selected:
        raise ConversionError(_nothing_to_convert(located, model))
    return selected


def _nothing_to_convert(located: list[LocatedSite], model: keras.Model) -> str:
    convertible = [item for item in located if item.site.convertible]
    on_request = [item.site for item in convertible if item.site.on_request]
    if len(convertible) > len(on_request):
        return (
            f"No site of model '{model.name}' is left to convert: `include` and `exclude` leave"
            f" none of its {len(convertible)}."
        )
    if on_request:
        names = " and ".join(sorted({site.reason.split()[0] for site in on_request}))
        return (
            f"Model '{model.name}' has no ReLU, but {len(on_request)} smooth activations ({names}),"
            " which are converted on request: name them with `include` (the first is"
            f" '{on_request[0].path}')."
        )
    if located:
        first = located[0].site
        return (
            f"Model '{model.name}' has no site that can be converted: {len(located)} found, none"
            f" convertible. The first is '{first.path}' ({first.layer}): {first.reason}."
        )
    return (
        f"Model '{model.name}' has no ReLU. Looked for: ReLU, LeakyReLU and PReLU layers,"
        " Activation('relu'), layers with activation='relu', keras.ops.relu in the graph, and all"
        " of these inside custom layers."
    )


def _predicates(
    argument: str, selector: Selector, located: list[LocatedSite]
) -> list[Callable[[LocatedSite], bool]]:
    if selector is None:
        return []
    alternatives = (
        list(selector)
        if isinstance(selector, Iterable) and not isinstance(selector, (str, type))
        else [selector]
    )
    return [_predicate(argument, alternative, located) for alternative in alternatives]


def _predicate(
    argument: str, selector: Any, located: list[LocatedSite]
) -> Callable[[LocatedSite], bool]:
    if isinstance(selector, str):

        def accepts(item: LocatedSite) -> bool:
            names = (
                item.site.path,
                item.site.target,
                item.operation.name,
                getattr(item.owner, "name", ""),
            )
            return any(fnmatchcase(name, selector) for name in names)

        if not any(accepts(item) for item in located):
            raise InvalidArgumentError(
                f"`{argument}` names no site: {selector!r} matches none of the {len(located)} that"
                " find_sites lists."
            )
        return accepts
    if isinstance(selector, type):
        return lambda item: isinstance(item.operation, selector) or isinstance(item.owner, selector)
    if callable(selector):
        return lambda item: bool(selector(item.site))
    raise InvalidArgumentError(
        f"`{argument}` takes layer names, globs, layer classes or a function of a Site. Received:"
        f" {argument}={selector!r}"
    )
