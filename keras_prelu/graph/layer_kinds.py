"""How layers treat channels, according to their class and configuration.

A class is recognized by identity, not by name, and a subclass only if it inherits everything that
takes part in the computation: a user's class that happens to be called Dropout, or a subclass of
Dense with a `call` of its own, may compute anything.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.graph.hooks import without_hooks
from keras_prelu.graph.plan import Slot, Step

__all__ = [
    "built_input_shape",
    "computes_as",
    "has_linear_activation",
    "is_channels_last",
    "is_homogeneous_function",
    "is_homogeneous_op",
    "is_op_of_tensors",
    "is_plain_call",
    "is_sum",
    "keeps_channels",
    "keeps_common_factor",
    "keras_class",
]

_CHANNELWISE = frozenset(
    {
        "AveragePooling1D",
        "AveragePooling2D",
        "AveragePooling3D",
        "Cropping1D",
        "Cropping2D",
        "Cropping3D",
        "Dropout",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalAveragePooling3D",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling2D",
        "GlobalMaxPooling3D",
        "Identity",
        "MaxPooling1D",
        "MaxPooling2D",
        "MaxPooling3D",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "UpSampling1D",
        "UpSampling2D",
        "UpSampling3D",
        "ZeroPadding1D",
        "ZeroPadding2D",
        "ZeroPadding3D",
    }
)
"""Names of the classes of Keras that move, select or average the values of each channel.

They mix no channels, and they multiply no channel by another factor than the others.
"""

_WITH_COMMON_FACTOR = _CHANNELWISE | {
    "Add",
    "Average",
    "Concatenate",
    "Flatten",
    "Maximum",
    "Minimum",
    "Permute",
    "RepeatVector",
    "Reshape",
    "Subtract",
}
"""Names of the classes of Keras whose outputs a factor of all inputs multiplies."""

_OPS_WITH_COMMON_FACTOR = frozenset(
    {
        "Add",
        "Concatenate",
        "ExpandDims",
        "LeakyRelu",
        "Maximum",
        "Mean",
        "Minimum",
        "Relu",
        "Reshape",
        "Squeeze",
        "Subtract",
        "Sum",
        "Transpose",
    }
)
"""The same of the ops of Keras, which have no public names, if they are called on tensors alone."""

_FREE_TO_OVERRIDE = frozenset(
    {
        "__annotate__",
        "__annotate_func__",
        "__annotations__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__init__",
        "__module__",
        "__qualname__",
        "__repr__",
        "__slotnames__",
        "__static_attributes__",
        "__str__",
        "__weakref__",
        "build",
        "build_from_config",
        "compute_output_shape",
        "compute_output_spec",
        "count_params",
        "from_config",
        "get_build_config",
        "get_config",
        "summary",
    }
)
"""What a subclass may define anew and still compute what its base class does.

`build` creates the weights, which are read from the layer; everything else that a base class has,
such as `call`, `kernel`, `convolution_op` or `compute_mask`, may change the result.
"""


def keras_class(layer: Any) -> type | None:
    """Return the class of `keras.layers` whose computation a layer has unchanged, or None."""
    for cls in type(layer).__mro__:
        if getattr(keras.layers, cls.__name__, None) is cls:
            return cls if computes_as(layer, cls) else None
    return None


def computes_as(layer: Any, base: type) -> bool:
    """Return whether a layer is of a class, or of a subclass that computes the same.

    Args:
        layer: Any. The object to examine.
        base: Type. The class whose computation is known.
    """
    if not isinstance(layer, base):
        return False
    classes = type(layer).__mro__
    return _has_call_of_its_class(layer) and not any(
        hasattr(base, name) and name not in _FREE_TO_OVERRIDE
        for cls in classes[: classes.index(base)]
        for name in vars(cls)
    )


def _has_call_of_its_class(layer: Any) -> bool:
    """Return whether nobody has replaced the `call` of this one object."""
    if "call" not in vars(layer):
        return True
    function = getattr(without_hooks(layer.call), "__func__", None)
    return function is not None and function is getattr(type(layer), "call", None)


def keeps_channels(layer: Any) -> bool:
    """Return whether a layer computes each channel of its output from that channel of its input.

    It may move, select and average values of the channel, and multiplies no channel by a factor.
    Channels are on the last axis.
    """
    cls = keras_class(layer)
    if cls is None or not is_channels_last(layer):
        return False
    if cls is keras.layers.Activation:
        return has_linear_activation(layer)
    return cls.__name__ in _CHANNELWISE


def keeps_common_factor(layer: Any) -> bool:
    """Return whether a positive factor of all inputs of a layer multiplies its outputs.

    The factor is the same for all channels, which may be mixed or moved.
    """
    cls = keras_class(layer)
    if cls is keras.layers.Activation:
        return is_homogeneous_function(layer.activation)
    return cls is not None and cls.__name__ in _WITH_COMMON_FACTOR


def is_homogeneous_function(function: Any) -> bool:
    """Return whether φ(s·x) = s·φ(x) for s > 0 is known of the activation of a layer."""
    return function in (
        None,
        keras.activations.linear,
        keras.activations.relu,
        keras.activations.leaky_relu,
    )


def is_homogeneous_op(step: Step) -> bool:
    """Return whether a step is an op whose outputs a positive factor of all inputs multiplies."""
    return type(step.operation).__name__ in _OPS_WITH_COMMON_FACTOR and is_op_of_tensors(step)


def is_op_of_tensors(step: Step) -> bool:
    """Return whether a step is an op of Keras that is called on tensors alone.

    An op also takes numbers and arrays.
    """
    arguments = keras.tree.flatten((step.args, step.kwargs))
    return _is_of_keras(type(step.operation)) and all(isinstance(leaf, Slot) for leaf in arguments)


def is_plain_call(step: Step) -> bool:
    """Return whether a layer is called on tensors alone, as at inference.

    The first argument is a tensor or a list of tensors. No other argument, such as a mask, a number
    to add or a pinned `training=True`, changes what is computed.
    """
    first, *others = step.args or (None,)
    options = {name: value for name, value in step.kwargs.items() if value is not None}
    if any(value is not None for value in others) or options not in ({}, {"training": False}):
        return False
    tensors = keras.tree.flatten(first)
    return bool(tensors) and all(isinstance(leaf, Slot) for leaf in tensors)


def is_sum(step: Step) -> bool:
    """Return whether a step adds tensors, by a layer or an op, and nothing else to them."""
    operation = step.operation
    if isinstance(operation, keras.layers.Layer):
        return keras_class(operation) is keras.layers.Add and is_plain_call(step)
    return type(operation).__name__ == "Add" and is_op_of_tensors(step)


def _is_of_keras(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "keras"


def has_linear_activation(layer: Any) -> bool:
    """Return whether a layer has no activation of its own, or the linear one."""
    return getattr(layer, "activation", None) in (None, keras.activations.linear)


def is_channels_last(layer: Any) -> bool:
    """Return whether the channels of a layer's tensors are on the last axis.

    Returns True for layers that have no `data_format`.
    """
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def built_input_shape(layer: Any) -> tuple[int | None, ...] | None:
    """Return the shape of the tensor that a layer was built for, batch first.

    Returns None if the shape is not known.
    """
    shape = (layer.get_build_config() or {}).get("input_shape") if layer.built else None
    return tuple(shape) if shape else None
