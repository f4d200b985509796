"""keras_prelu.graph.weight_sharing: variables that several operations of a model use."""

import keras
import pytest

from keras_prelu.graph.plan import compile_plan
from keras_prelu.graph.weight_sharing import SharedVariables
from tests.helpers import channel_chains as chains

L = keras.layers


class Holder(L.Layer):
    """A layer that holds another one, which somebody else may hold as well."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, x):
        return self.inner(x)


@pytest.mark.parametrize(
    ("apply", "is_shared"),
    [
        (lambda x, layer: layer(x), False),
        (lambda x, layer: layer(layer(x)), False),  # one operation that is called twice
        (lambda x, layer: Holder(layer)(x), False),
        (lambda x, layer: Holder(layer)(layer(x)), True),
        (lambda x, layer: Holder(layer)(Holder(layer)(x)), True),
        (lambda x, layer: L.TimeDistributed(layer)(layer(x)), True),
        (lambda x, layer: keras.ops.matmul(layer(x), layer.kernel), True),
    ],
)
def test_shared_variables_are_found(apply, is_shared):
    layer = L.Dense(chains.CHANNELS)
    inputs = keras.Input((chains.POSITIONS, chains.CHANNELS))
    model = keras.Model(inputs, apply(inputs, layer))
    assert SharedVariables(compile_plan(model)).contains_any([layer.kernel]) == is_shared
