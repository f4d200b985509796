"""Selection of the sites to convert: by path, name, glob, class or a function of the site."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

import keras

from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.sites.site import LocatedSite, Site

__all__ = ["SMOOTH", "Selector", "select"]

Selector = Any
"""A path, layer name or glob, a layer class, a function of a `Site`, or an iterable of these."""


def _is_smooth(site: Site) -> bool:
    return site.is_smooth and not site.range_matters


SMOOTH: Selector = _is_smooth
"""Selector of the smooth relatives of ReLU: swish (SiLU), hard-swish, GELU, ELU, Mish, ….

Left out are those whose range the model relies on, such as a Softplus that is an output. Gates,
such as sigmoid and hard-sigmoid, are none of them.
"""


def select(
    located: list[LocatedSite], model: keras.Model, include: Selector, exclude: Selector
) -> list[LocatedSite]:
    """Return the sites to convert.

    Args:
        located: List of `LocatedSite`. All sites of a model.
        model: `keras.Model`. The model, for messages.
        include: `Selector`. The sites to convert; None for all except those on request.
        exclude: `Selector`. The sites to leave out; None for none.

    Raises:
        InvalidArgumentError: A selector is of an unsupported kind, or matches no site.
        ConversionError: No site is left; the message says which sites were found.
    """
    includes = _predicates("include", include, located)
    excludes = _predicates("exclude", exclude, located)

    def is_included(candidate: LocatedSite) -> bool:
        if include is None:
            return not candidate.site.on_request
        return any(accepts(candidate) for accepts in includes)

    selected = [
        candidate
        for candidate in located
        if candidate.site.convertible
        and is_included(candidate)
        and not any(accepts(candidate) for accepts in excludes)
    ]
    if not selected:
        raise ConversionError(_nothing_to_convert(located, model))
    return selected


def _nothing_to_convert(located: list[LocatedSite], model: keras.Model) -> str:
    convertible = [candidate.site for candidate in located if candidate.site.convertible]
    on_request = [site for site in convertible if site.on_request]
    if len(convertible) > len(on_request):
        return (
            f"No site of model '{model.name}' is left to convert: `include` and `exclude` leave"
            f" none of its {len(convertible)} (--include, --exclude)."
        )
    if on_request:
        return _only_on_request(on_request, model)
    if located:
        first = located[0].site
        return (
            f"Model '{model.name}' has no site that can be converted: {len(located)} found, none"
            f" convertible. The first is '{first.path}' ({first.layer}): {first.reason}."
        )
    return (
        f"Model '{model.name}' has no ReLU, and no smooth activation that could become a PReLU."
        " Looked for: ReLU, LeakyReLU and PReLU layers, Activation('relu'), layers with"
        " activation='relu', keras.ops.relu in the graph, the same of swish, GELU, ELU and their"
        " relatives, and all of these inside custom layers."
    )


def _only_on_request(sites: list[Site], model: keras.Model) -> str:
    needed = [site for site in sites if not site.is_smooth]
    if needed:
        first = needed[0]
        return (
            f"Model '{model.name}' has no site that is converted by default, but {len(sites)} that"
            " are on request: name them to `convert` or `finetune` (include, --include)."
            f" The first is '{first.path}': {first.reason}."
        )
    names = " and ".join(sorted({site.reason.split()[0] for site in sites}))
    return (
        f"Model '{model.name}' has no ReLU, but smooth activations ({names}; the first is"
        f" '{sites[0].path}'), which are converted on request: include=keras_prelu.sites.SMOOTH, or"
        " --activations smooth --data DATA."
    )


def _predicates(
    argument: str, selector: Selector, located: list[LocatedSite]
) -> list[Callable[[LocatedSite], bool]]:
    if selector is None:
        return []
    if isinstance(selector, Iterable) and not isinstance(selector, (str, type)):
        alternatives = list(selector)
    else:
        alternatives = [selector]
    return [_predicate(argument, alternative, located) for alternative in alternatives]


def _predicate(
    argument: str, selector: Any, located: list[LocatedSite]
) -> Callable[[LocatedSite], bool]:
    if isinstance(selector, str):

        def accepts(candidate: LocatedSite) -> bool:
            names = (
                candidate.site.path,
                candidate.site.target,
                candidate.operation.name,
                getattr(candidate.owner, "name", ""),
            )
            # Paths may hold brackets, as "block/layers[0]" does, which a glob takes for a set.
            return selector in names or any(fnmatchcase(name, selector) for name in names)

        if not any(accepts(candidate) for candidate in located):
            raise InvalidArgumentError(
                f"`{argument}` names no site: {selector!r} matches none of the {len(located)} that"
                " find_sites lists."
            )
        return accepts
    if isinstance(selector, keras.layers.Layer):
        raise InvalidArgumentError(
            f"`{argument}` takes names, layer classes and functions of a Site. Give the name of the"
            f" layer: {selector.name!r}. Received: {argument}={type(selector).__name__}"
        )
    if isinstance(selector, type):
        return lambda candidate: (
            isinstance(candidate.operation, selector) or isinstance(candidate.owner, selector)
        )
    if callable(selector):
        return lambda candidate: bool(selector(candidate.site))
    raise InvalidArgumentError(
        f"`{argument}` takes layer names, globs, layer classes or a function of a Site. Received:"
        f" {argument}={selector!r}"
    )
