"""Keys of the rectifiers that code calls: the texts of the calls that lead to them.

See `code_calls` for what a key says.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping

from keras_prelu.graph.rectifiers import Rectifier

__all__ = [
    "call_after",
    "call_key",
    "is_at",
    "is_for_argument",
    "is_inside_argument",
    "is_later_pass",
    "parameters_of",
    "passes_of",
    "prefix_of",
    "prefixes_of_methods",
    "rectifier_of_key",
    "with_passes",
    "without_passes",
]

_INTO = " -> "
_ARGUMENT = ". argument]"
_PASS = re.compile(r" \[pass (?P<number>\d+)\]")
_PASS_OF = re.compile(r" \[pass (?P<number>\d+) of (?P<count>\d+)\]")
_PARAMETERS_BEGIN = " {"
_PARAMETERS = re.compile(r" \{slope (?P<slope>[^,]+), cap (?P<cap>[^}]+)\}$")
_SMOOTH = " {smooth}"
_ADDED = re.compile(r"( \[pass \d+\]| \[\d+\. argument\]| \{[^}]*\})+$")
"""What follows the text of a call in a key."""


def call_key(prefix: str, text: str, count: int) -> str:
    """Return the key of a call: the way to its function, its text, and the number of its pass."""
    return f"{prefix}{text} [pass {count}]" if count > 1 else f"{prefix}{text}"


def prefix_of(key: str, argument: int | None = None) -> str:
    """Return the prefix of the keys inside a function that a call calls, or hands on.

    Args:
        key: String. The key of the call.
        argument: Integer or None. The position of the function among the arguments of the call.
            Defaults to None: it is what is called.
    """
    return f"{key}{_INTO}" if argument is None else f"{key} [{argument}{_ARGUMENT}{_INTO}"


def is_for_argument(prefix: str) -> bool:
    """Return whether a prefix is that of a function that a call hands on."""
    return prefix.endswith(_ARGUMENT + _INTO)


def is_inside_argument(key: str) -> bool:
    """Return whether a key leads through a function that a call hands on."""
    return _ARGUMENT + _INTO in key


def is_later_pass(key: str) -> bool:
    """Return whether a loop leads through any call of a key for a second time or more."""
    return _PASS.search(key) is not None


def call_after(prefix: str, key: str) -> str:
    """Return the text of the call that a key leads through after a prefix, or "" for other keys."""
    if not key.startswith(prefix):
        return ""
    return _ADDED.sub("", key.removeprefix(prefix).split(_INTO)[0])


def is_at(key: str, call: str) -> bool:
    """Return whether a key is that of a rectifier at a call, with whatever arguments."""
    return key == call or key.startswith(call + _PARAMETERS_BEGIN)


def rectifier_of_key(key: str) -> Rectifier | None:
    """Return the rectifier that the code applies at a key, or None if it is a smooth one."""
    if key.endswith(_SMOOTH):
        return None
    match = _PARAMETERS.search(key)
    if match is None:
        return Rectifier("code")
    cap = None if match["cap"] == "None" else float(match["cap"])
    return Rectifier("code", float(match["slope"]), cap)


def parameters_of(rectifier: Rectifier) -> str:
    """Return the end of the key of a rectifier that is not a plain ReLU.

    A call whose other arguments vary then has several keys.
    """
    if rectifier.smooth:
        return _SMOOTH
    if rectifier.negative_slope == 0 and rectifier.max_value is None:
        return ""
    return f" {{slope {rectifier.negative_slope!r}, cap {rectifier.max_value!r}}}"


def passes_of(keys: Iterable[str]) -> dict[str, int]:
    """Return how often the functions come to each call, by the parts of keys that lead there."""
    passes: dict[str, int] = {}
    for key in keys:
        prefix = ""
        for call in key.split(_INTO):
            match = _PASS.search(call)
            text = prefix + _ADDED.sub("", call)
            passes[text] = max(passes.get(text, 1), int(match["number"]) if match else 1)
            prefix += call + _INTO
    return passes


def with_passes(key: str, passes: Mapping[str, int]) -> str:
    """Return a key that says of each of its calls in a loop how many passes there are.

    Args:
        key: String.
        passes: Mapping. The result of `passes_of` for all keys of the code.
    """
    prefix, calls = "", []
    for call in key.split(_INTO):
        text = _ADDED.sub("", call)
        count = passes.get(prefix + text, 1)
        prefix += call + _INTO
        if count > 1:
            match = _PASS.search(call)
            number = match["number"] if match else "1"
            rest = _PASS.sub("", call).removeprefix(text)
            call = f"{text} [pass {number} of {count}]{rest}"
        calls.append(call)
    return _INTO.join(calls)


def without_passes(key: str) -> tuple[str, dict[str, int]]:
    """Return the key and the passes that a result of `with_passes` says."""
    prefix, passes = "", {}
    for call in key.split(_INTO):
        match = _PASS_OF.search(call)
        if match is not None:
            passes[prefix + call[: match.start()]] = int(match["count"])
            marker = f" [pass {match['number']}]" if match["number"] != "1" else ""
            call = call[: match.start()] + marker + call[match.end() :]
        prefix += call + _INTO
    return prefix.removesuffix(_INTO), passes


def prefixes_of_methods(keys: Iterable[str]) -> dict[str, str]:
    """Return the methods that keys lead through at one place only, with the prefix there."""
    found: dict[str, set[str]] = {}
    for key in keys:
        prefix = ""
        for call in key.split(_INTO)[:-1]:
            prefix += call + _INTO
            name = "" if _ADDED.search(call) else _method_of(call)
            if not name:
                break  # From here on, `self` may be another object, or the method was handed on.
            found.setdefault(name, set()).add(prefix)
    return {name: prefixes.pop() for name, prefixes in found.items() if len(prefixes) == 1}


def _method_of(call: str) -> str:
    """Return the name of the method of `self` that a call calls, or ""."""
    text, _, number = call.rpartition("@")
    node = ast.parse(text if number.replace("/", "").isdigit() else call, mode="eval").body
    function = node.func if isinstance(node, ast.Call) else None
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
        return ""
    return function.attr if function.value.id == "self" else ""
