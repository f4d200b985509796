"""Former name of `graph.hooks.hook_calls`, which calibration/ still uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras_prelu.graph.hooks import HookTarget, hook_calls

__all__ = ["listening"]


def listening(layers: Sequence[Any], hear: Callable[[Any, Any, Any], Any]) -> Any:
    return hook_calls(
        [HookTarget(layer) for layer in layers],
        lambda call: hear(call.target.owner, call.inputs, call.outputs),
    )
