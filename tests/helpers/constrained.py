"""Networks whose weights have constraints, of every kind of layer and constraint."""

import keras
import numpy as np

import keras_prelu as kp
from tests.helpers import models

L = keras.layers
C = keras.constraints

__all__ = ["CONSTRAINTS", "NETWORKS", "bounded", "holds", "network", "violations"]


@keras.saving.register_keras_serializable("tests")
class AtMostHalf(C.Constraint):
    """A user's constraint: no weight above 0.5."""

    def __call__(self, w):
        return keras.ops.minimum(w, 0.5)


CONSTRAINTS = {
    "non_neg": C.NonNeg,
    "max_norm": lambda: C.MaxNorm(0.7),
    "unit_norm": C.UnitNorm,
    "min_max_norm": lambda: C.MinMaxNorm(0.4, 0.9),
    "own": AtMostHalf,
}


def _dense(made):
    return [
        keras.Input((6,)),
        L.Dense(8, "relu", kernel_constraint=made(), bias_constraint=made()),
        L.Dense(8, "relu", kernel_constraint=made()),
        L.Dense(3, kernel_constraint=made()),
    ]


def _conv2d(made):
    return [
        keras.Input((8, 8, 3)),
        L.Conv2D(6, 3, activation="relu", kernel_constraint=made()),
        L.DepthwiseConv2D(3, activation="relu", depthwise_constraint=made()),
        L.Conv2D(4, 1, activation="relu", bias_constraint=made()),
        L.Flatten(),
        L.Dense(3),
    ]


def _conv1d(made):
    return [
        keras.Input((12, 3)),
        L.SeparableConv1D(
            6, 3, activation="relu", pointwise_constraint=made(), depthwise_constraint=made()
        ),
        L.Conv1D(6, 3, activation="relu", kernel_constraint=made()),
        L.DepthwiseConv1D(3, activation="relu", depthwise_constraint=made()),
        L.Conv1DTranspose(4, 3, activation="relu", kernel_constraint=made()),
        L.GlobalAveragePooling1D(),
        L.Dense(3, kernel_constraint=made()),
    ]


def _conv3d(made):
    return [
        keras.Input((5, 5, 5, 2)),
        L.Conv3D(4, 2, activation="relu", kernel_constraint=made()),
        L.Conv3D(4, 2, activation="relu"),
        L.GlobalAveragePooling3D(),
        L.Dense(3, kernel_constraint=made()),
    ]


def _normalized(made):
    return [
        keras.Input((6,)),
        L.Dense(8, use_bias=False, kernel_constraint=made()),
        L.BatchNormalization(gamma_constraint=made(), beta_constraint=made()),
        L.ReLU(),
        L.Dense(8),
        L.LayerNormalization(gamma_constraint=made(), beta_constraint=made()),
        L.ReLU(),
        L.Dense(3),
    ]


def _einsum(made):
    return [
        keras.Input((3, 6)),
        L.EinsumDense(
            "abc,cd->abd",
            (3, 8),
            activation="relu",
            bias_axes="d",
            kernel_constraint=made(),
            bias_constraint=made(),
        ),
        L.TimeDistributed(L.Dense(8, "relu", kernel_constraint=made())),
        L.Flatten(),
        L.Dense(3, kernel_constraint=made()),
    ]


def _recurrent(made):
    return [
        keras.Input((3, 6)),
        L.Dense(6, "relu", kernel_constraint=made()),
        L.Bidirectional(L.SimpleRNN(4, kernel_constraint=made(), recurrent_constraint=made())),
        L.Dense(8, "relu", kernel_constraint=made()),
        L.Dense(3, kernel_constraint=made()),
    ]


def _attention(made):
    inputs = keras.Input((5, 6))
    x = L.Dense(8, "relu", kernel_constraint=made())(inputs)
    x = L.MultiHeadAttention(2, 4, kernel_constraint=made(), bias_constraint=made())(x, x)
    x = L.Dense(8, "relu")(L.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, L.Dense(3, kernel_constraint=made())(x))


NETWORKS = {
    "dense": _dense,
    "conv2d": _conv2d,
    "conv1d": _conv1d,
    "conv3d": _conv3d,
    "normalized": _normalized,
    "einsum": _einsum,
    "recurrent": _recurrent,
    "attention": _attention,
}


def network(name, constraint, seed=0):
    """Return a network with weights as training leaves them, which satisfy its constraints."""
    made = NETWORKS[name](CONSTRAINTS[constraint])
    return bounded(made if isinstance(made, keras.Model) else keras.Sequential(made), seed)


def bounded(model, seed=0):
    """Draw the weights of a model, and apply its constraints as a training step does."""
    for variable in models.live_in(model, seed).weights:
        for _ in range(3):
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))
    return model


def holds(variable):
    if variable.constraint is None or isinstance(variable.constraint, kp.constraints.AtLeast):
        return True
    value = np.asarray(keras.ops.convert_to_numpy(variable), dtype=np.float64)
    after = np.asarray(keras.ops.convert_to_numpy(variable.constraint(variable)), dtype=np.float64)
    return np.allclose(after, value, rtol=1e-5, atol=2e-6)


def violations(model):
    """Return the paths of the weights that their constraints would change."""
    return [variable.path for variable in model.weights if not holds(variable)]
