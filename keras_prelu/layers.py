"""The PReLU layer."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_prelu import constraints, parameterizations
from keras_prelu.backend.variables import outside_of_graphs
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.layer_arguments import (
    axes_with_slopes,
    fit_slopes,
    map_and_constraint,
    slope_initializer,
    standardize_data_format,
    standardize_max_value,
    standardize_shared_axes,
)
from keras_prelu.ops import positive_prelu, prelu, prelu_to_one
from keras_prelu.registration import serializable
from keras_prelu.regularizers import SlopePenalty
from keras_prelu.typing import Shape, Tensor

__all__ = ["PReLU", "is_free_slope", "is_slope", "map_and_constraint", "slopes_in_effect"]

_MAP_KEY = "parameterization"
"""Key of the map among a layer's stored variables, which Keras numbers."""


@serializable()
class PReLU(keras.layers.Layer):
    """Parametric ReLU with a learned negative slope under a constraint.

    The layer computes φ(x) = max(x, 0) + α·min(x, 0) with a learned slope α = map(β), one for each
    channel by default. Its variable is the raw parameter β (float32 also under mixed precision);
    the parameterization derives α from β:

    ================  ============  ========  ==================
    parameterization  α(β)          range     L2 on β pulls α to
    ================  ============  ========  ==================
    `"exp"`           e^β           (0, ∞)    1
    `"square"`        β²            [0, ∞)    0
    `"softplus"`      log(1 + e^β)  (0, ∞)    log 2
    `"sigmoid"`       σ(β)          (0, 1)    1/2
    `"identity"`      β             any       0
    ================  ============  ========  ==================

    `"positive"` names `"identity"` under `keras_prelu.constraints.AtLeast()`, which keeps slopes at
    0.001 or above.

    With `parameterization="identity"` and Keras's arguments the layer is a drop-in replacement for
    `keras.layers.PReLU`; `.alpha` is then the variable itself.

    Args:
        alpha_initializer: Float, array or Keras initializer. The initial *slope*, under every
            parameterization; an array has the slopes' shape, or one value for each slope. Defaults
            to 0.25.
        parameterization: String or `keras_prelu.parameterizations.Parameterization`. `"exp"`,
            `"square"`, `"softplus"`, `"sigmoid"`, `"identity"`, `"positive"`, or an instance. The
            layer of `"positive"` has and saves the parameterization `"identity"` and the
            constraint. Defaults to `"exp"`.
        alpha_regularizer: Keras regularizer of the slope α in effect, such as
            `keras_prelu.regularizers.AlphaL2`. Defaults to None.
        beta_regularizer: Keras regularizer of β, with the implicit bias of the parameterization
            (table above). Defaults to None.
        alpha_constraint: Keras constraint of α, for `parameterization="identity"` only (the other
            parameterizations are constraints). Under `keras_prelu.constraints.AtLeast` the backward
            pass needs only the output, as under the positive parameterizations. Defaults to None.
        shared_axes: String, integer, sequence of integers or None. The axes along which a slope is
            shared: `"channel_wise"` (one slope per channel, whatever the rank), `"channel_shared"`
            (one slope), None (a slope for each element, as in Keras), or axes, as in
            `keras.layers.PReLU` (axis 0 is the batch and always shared). Defaults to
            `"channel_wise"`.
        max_value: Float > 0 or None. A cap on the output, so that a converted ReLU6 keeps its cap.
            Defaults to None.
        data_format: String. `"channels_last"` or `"channels_first"`: the axis of the channels (−1
            or 1) for `"channel_wise"`. Defaults to `keras.config.image_data_format()`.
        drop_mask: Boolean. Whether the output has no mask of time steps, like that of a
            `keras.ops` function, which a converted model needs in place of one. Defaults to False:
            the mask of the input is passed on, as by Keras's activation layers.
        **kwargs: Arguments of every Keras layer: `name`, `dtype`, `trainable`.

    Input shape:
        Any rank of at least 2, batch first. Only the axes that carry a slope need a known size.

    Output shape:
        The same as the input. The dtype is the layer's compute dtype.

    Raises:
        InvalidArgumentError: A ValueError; an argument has none of the values above, or the
            parameterization cannot represent the initial slope. `build` also raises it, if the size
            of an axis that carries a slope is unknown.

    Example:

    >>> model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(16, 3),
    ...     keras_prelu.PReLU()])
    >>> model.layers[-1].alpha.shape
    (1, 1, 16)

    References:
        He et al. 2015, https://arxiv.org/abs/1502.01852. Claims 1 and 5.
    """

    def __init__(
        self,
        alpha_initializer: Any = 0.25,
        parameterization: Any = "exp",
        alpha_regularizer: Any = None,
        beta_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = "channel_wise",
        max_value: float | None = None,
        data_format: str | None = None,
        drop_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.drop_mask = drop_mask
        self.parameterization, named_constraint = map_and_constraint(parameterization)
        if named_constraint is not None and alpha_constraint is not None:
            raise InvalidArgumentError(
                "parameterization='positive' has a constraint of its own. Use 'identity' with"
                f" yours. Received: alpha_constraint={alpha_constraint!r}"
            )
        self.alpha_initializer = slope_initializer(alpha_initializer)
        if isinstance(self.alpha_initializer, keras.initializers.Constant):
            self.parameterization.check(self.alpha_initializer.value)
            if named_constraint is not None:
                named_constraint.check(self.alpha_initializer.value)
        self.alpha_regularizer = keras.regularizers.get(alpha_regularizer)
        self.beta_regularizer = keras.regularizers.get(beta_regularizer)
        self.alpha_constraint = named_constraint or keras.constraints.get(alpha_constraint)
        if self.alpha_constraint is not None and not self._is_identity:
            raise InvalidArgumentError(
                "`alpha_constraint` needs parameterization='identity'; the other maps are"
                f" constraints themselves. Received: alpha_constraint={alpha_constraint!r},"
                f" parameterization={self.parameterization.name!r}"
            )
        self.shared_axes = standardize_shared_axes(shared_axes)
        self.max_value = standardize_max_value(max_value)
        self.data_format = standardize_data_format(data_format)
        self.beta: Any = None

    @property
    def alpha(self) -> Tensor:
        """The slope in effect: a float32 tensor of the slopes' shape; None before `build`.

        Under `"identity"` it is the variable itself.
        """
        if self.beta is None or self._is_identity:
            return self.beta
        return self.parameterization.alpha(ops.convert_to_tensor(self.beta))

    @property
    def _is_identity(self) -> bool:
        return isinstance(self.parameterization, parameterizations.Identity)

    @property
    def _sign_is_certain(self) -> bool:
        """Whether slopes are certainly positive, so the backward pass needs only the output."""
        if isinstance(self.alpha_constraint, constraints.AtLeast):
            # ∂L/∂α is Σ g·min(y, 0)/α: in float16 y = αx may underflow when the quotient does not.
            return self.compute_dtype != "float16"
        return self.parameterization.sign_is_certain(self.compute_dtype)

    @property
    def _is_at_most_one(self) -> bool:
        """Whether slopes are certainly at most 1, if their sign is certain."""
        if isinstance(self.alpha_constraint, constraints.Between):
            return self.alpha_constraint.maximum <= 1
        return self.parameterization.at_most_one

    def build(self, input_shape: Shape) -> None:
        carrying = axes_with_slopes(len(input_shape), self.shared_axes, self.data_format, self.name)
        for axis in carrying:
            if input_shape[axis] is None:
                raise InvalidArgumentError(
                    f"PReLU layer '{self.name}' needs a known size for axis {axis}, which carries a"
                    " slope for each position. Give the input a size there, or share slopes along"
                    f" it (shared_axes). Received: input_shape={tuple(input_shape)}"
                )
        shape = tuple(
            input_shape[axis] if axis in carrying else 1 for axis in range(1, len(input_shape))
        )
        self.beta = self.add_weight(
            shape=shape,
            name="alpha" if self._is_identity else "beta",
            initializer=self._initial_beta,
            regularizer=self._penalty(),
            constraint=self.alpha_constraint,
            # The map is evaluated in float32, since e^β in half precision would change each slope
            # by up to 0.1 %.
            autocast=False,
        )
        # Read by is_slope and is_free_slope.
        self.beta.keras_prelu_slope = True
        self.beta.keras_prelu_free_slope = self._is_identity
        # torch.compile can't trace the creation of the operation, so it is created here, outside of
        # any compiled function.
        self._activate(ops.zeros((0,)), ops.ones(()))
        self.input_spec = self._accepted_inputs(input_shape, carrying)

    def _accepted_inputs(self, shape: Shape, carrying: tuple[int, ...]) -> keras.layers.InputSpec:
        """Return which inputs the slopes fit.

        Slopes of the last axis alone fit inputs of any rank, as a ReLU does. Keras infers too high
        a rank for some layers, such as a TextVectorization of counts.
        """
        if isinstance(self.shared_axes, str) and set(carrying) <= {len(shape) - 1}:
            axes = {-1: shape[-1]} if carrying else {}
            return keras.layers.InputSpec(min_ndim=2, axes=axes)
        axes = {axis: shape[axis] for axis in carrying}
        return keras.layers.InputSpec(ndim=len(shape), axes=axes)

    def _initial_beta(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        if isinstance(self.alpha_initializer, keras.initializers.Constant):
            slopes = fit_slopes(self.alpha_initializer.value, shape, self.name)
        else:
            if self._is_identity:
                return self.alpha_initializer(shape, dtype=dtype)
            with outside_of_graphs():
                slopes = ops.convert_to_numpy(self.alpha_initializer(shape, dtype=dtype))
        return ops.convert_to_tensor(self.parameterization.beta(slopes), dtype=dtype)

    def _penalty(self) -> Any:
        if self.beta_regularizer is None and self._is_identity:
            return self.alpha_regularizer
        if self.alpha_regularizer is None and self.beta_regularizer is None:
            return None
        return SlopePenalty(self.parameterization, self.alpha_regularizer, self.beta_regularizer)

    def call(self, inputs: Tensor) -> Tensor:
        alpha = slopes_in_effect(self)
        axes = len(inputs.shape) - 1
        if len(alpha.shape) > axes:  # All of the first ones are 1: see `_accepted_inputs`.
            alpha = ops.reshape(alpha, alpha.shape[-axes:])
        return self._activate(inputs, alpha)

    def _activate(self, inputs: Tensor, alpha: Tensor) -> Tensor:
        if self._sign_is_certain:
            activation = prelu_to_one if self._is_at_most_one else positive_prelu
            return activation(inputs, alpha, self.max_value)
        outputs = prelu(inputs, alpha)
        if self.max_value is None:
            return outputs
        return ops.minimum(outputs, ops.cast(self.max_value, outputs.dtype))

    def compute_mask(self, inputs: Tensor, previous_mask: Any) -> Any:
        return None if self.drop_mask else previous_mask

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def save_own_variables(self, store: Any) -> None:
        """Save β with the name of its map, since β under another map is another slope."""
        super().save_own_variables(store)
        store[_MAP_KEY] = np.frombuffer(self._serialized_map().encode(), dtype=np.uint8)

    def load_own_variables(self, store: Any) -> None:
        """Load β.

        Raises:
            InvalidArgumentError: A ValueError; the stored β belongs to another map. Files of
                version 0.1 and of `keras.layers.PReLU` do not say their map and load as they are.
        """
        if _MAP_KEY in set(store.keys()):
            stored_map = np.asarray(store[_MAP_KEY]).tobytes().decode()
            if stored_map != self._serialized_map():
                raise InvalidArgumentError(
                    f"The stored weights of PReLU layer '{self.name}' belong to the"
                    f" parameterization {stored_map}, and the layer has {self._serialized_map()}."
                    " Load them into a layer with the same `parameterization`."
                )
        numbered = set(store.keys()) - {_MAP_KEY}
        super().load_own_variables({key: store[key] for key in numbered})

    def _serialized_map(self) -> str:
        config = self.parameterization.get_config()
        described = [self.parameterization.name, config] if config else self.parameterization.name
        return json.dumps(described, sort_keys=True, default=str)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            {
                "alpha_initializer": keras.initializers.serialize(self.alpha_initializer),
                "parameterization": parameterizations.serialize(self.parameterization),
                "alpha_regularizer": keras.regularizers.serialize(self.alpha_regularizer),
                "beta_regularizer": keras.regularizers.serialize(self.beta_regularizer),
                "alpha_constraint": keras.constraints.serialize(self.alpha_constraint),
                "shared_axes": self.shared_axes,
                "max_value": self.max_value,
                "data_format": self.data_format,
            }
        )
        if self.drop_mask:  # Otherwise left out, so that older versions load the layer.
            config["drop_mask"] = True
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = keras.regularizers.serialize(self.activity_regularizer)
        return config


def slopes_in_effect(layer: PReLU) -> Tensor:
    """Return the slopes that a layer's forward pass multiplies by.

    They are `alpha`, after enforcing a constraint that the backward pass relies on.

    Args:
        layer: `PReLU`. A built layer.
    """
    alpha = ops.convert_to_tensor(layer.alpha)
    if isinstance(layer.alpha_constraint, constraints.AtLeast):
        alpha = layer.alpha_constraint.enforced(alpha)
    return alpha


def is_slope(variable: Any) -> bool:
    """Return whether a variable is the β of a PReLU layer.

    Optimizers see variables without their layers, so the layer marks its variable.

    Args:
        variable: `keras.Variable`. Any variable.
    """
    return getattr(variable, "keras_prelu_slope", False)


def is_free_slope(variable: Any) -> bool:
    """Return whether a variable is the slope of a PReLU layer itself, as under "identity".

    Args:
        variable: `keras.Variable`. Any variable.
    """
    return getattr(variable, "keras_prelu_free_slope", False)
