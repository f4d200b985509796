"""What the slopes of a layer expect of its code: the calls at their keys, as often as then.

Code that is not what it was at the conversion is refused, instead of slopes at the wrong place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from keras_prelu.custom_layers.code_keys import call_after, is_at, passes_of
from keras_prelu.errors import ConversionError

__all__ = ["ExpectedCalls"]


class ExpectedCalls:
    """The keys of one layer's code at which PReLU layers are in place, and the checks of the code.

    Args:
        name: String. The name of the layer, for messages.
        layer_class: Class. The class of the layer.
    """

    def __init__(self, name: str, layer_class: type) -> None:
        self._described = f"'{name}' ({layer_class.__name__})"
        self._keys: list[str] = []
        # The texts of the calls of the functions that were followed, by the prefix of their keys.
        self._texts: dict[str, frozenset[str]] = {}
        # How often the code came to each call when it was converted.
        self._expected_passes: dict[str, int] = {}
        self._passes: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def set_keys(self, keys: Iterable[str]) -> None:
        """Say at which keys PReLU layers are in place.

        Raises:
            ConversionError: The code does not lead to one of them.
        """
        self._keys = list(keys)
        self._passes = {
            text: max(count, self._expected_passes.get(text, 0))
            for text, count in passes_of(self._keys).items()
        }
        for prefix, texts in self._texts.items():
            self._check_texts(prefix, texts)

    def expect_passes(self, passes: Mapping[str, int]) -> None:
        """Say how often the code comes to its calls in a run, as `passes_of` does."""
        self._expected_passes.update(passes)

    def add_function(self, prefix: str, texts: Iterable[str]) -> None:
        """Say which calls a function has.

        Args:
            prefix: String. The prefix of the function's keys.
            texts: Iterable of strings. The texts of its calls.

        Raises:
            ConversionError: A key leads through another one.
        """
        self._texts[prefix] = frozenset(texts)
        self._check_texts(prefix, self._texts[prefix])

    def check_passes(self, prefix: str, counts: Mapping[str, int]) -> None:
        """Check that a run of a function came to its calls as often as at the conversion.

        Args:
            prefix: String. The prefix of the function's keys.
            counts: Mapping from the texts of its calls to the passes through each.

        Raises:
            ConversionError: It came more or less often to a call, and not never.
        """
        for text, count in counts.items():
            expected = self._passes.get(prefix + text, count)
            if self._keys and count != expected:
                raise self._changed(
                    f"{expected} pass{'es' if expected > 1 else ''} through `{text}`, and this run"
                    f" made {count}, so that it is not known which slopes belong to which"
                )

    def refuse_other_arguments(self, call: str) -> None:
        """Refuse a call without slopes if there are slopes for the same call.

        Raises:
            ConversionError: There are, with other arguments.
        """
        if any(is_at(key, call) for key in self._keys):
            raise self._changed(f"`{call}` with other arguments than in this call")

    def refuse_unfollowed(self, prefix: str, function: Any) -> None:
        """Refuse a function that can't be followed if there are slopes for calls in it.

        Raises:
            ConversionError: There are.
        """
        if any(key.startswith(prefix) for key in self._keys):
            raise self.unfollowed(f"`{getattr(function, '__qualname__', function)}`")

    def unfollowed(self, what: str) -> ConversionError:
        """Return the error for slopes in code that can't be followed.

        Args:
            what: String. The code.
        """
        return ConversionError(
            f"Layer {self._described} has slopes for functions in its code, and {what} is compiled"
            " on its own, or its source is not known or was edited after it was imported. Load the"
            " model in a new process, with the code of the conversion."
        )

    def _check_texts(self, prefix: str, texts: frozenset[str]) -> None:
        for key in self._keys:
            call = call_after(prefix, key)
            if call and call not in texts:
                raise self._changed(f"`{call}`, which it does not call any more")

    def _changed(self, slopes: str) -> ConversionError:
        return ConversionError(
            f"The code of layer {self._described} is not what it was at the conversion: there are"
            f" slopes for {slopes}. Use the code of then, or convert the ReLU model again; exclude"
            " sites of calls that vary from run to run."
        )
