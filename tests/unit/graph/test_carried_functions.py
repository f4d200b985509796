"""keras_prelu.graph.carried_functions: a rebuilt layer applies the functions of its original,
whatever a configuration says of them."""

import functools

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.graph.rebuilding import rebuild
from tests.helpers import models

A, L, ops = keras.activations, keras.layers, keras.ops
EXACT = {"alpha": 0.0, "parameterization": "identity", "rescale": "none"}
registered = keras.saving.register_keras_serializable("carried")


def leaky_relu(inputs):
    """Has the name of a function of Keras's with another slope."""
    return ops.maximum(inputs, 0.01 * inputs)


@registered
def shifted(inputs):
    return ops.relu(inputs) + 0.1


class Callable:
    def __init__(self, slope):
        self.slope = slope

    def __call__(self, inputs):
        return ops.maximum(inputs, self.slope * inputs) + 0.1

    def method(self, inputs):
        return self(inputs)


@registered
class Configured(Callable):
    def get_config(self):
        return {"slope": self.slope}


class Unregistered(L.Layer):
    def call(self, inputs):
        return ops.maximum(inputs, 0.3 * inputs)


FUNCTIONS = {
    "name": "leaky_relu",
    "function of a name of Keras's": leaky_relu,
    "registered": shifted,
    "partial": functools.partial(A.relu, max_value=1),
    "threshold": functools.partial(A.relu, threshold=0.5),
    "lambda": lambda x: ops.relu(x) + 0.1,
    "lambda with a capture": (lambda slope: lambda x: ops.maximum(x, slope * x))(0.7),
    "object": Callable(0.3),
    "object with a configuration": Configured(0.3),
    "method": Callable(0.3).method,
    "layer": L.LeakyReLU(0.4),
    "unregistered layer": Unregistered(),
    "softmax": lambda x: ops.softmax(x, axis=-1),
}


def predict(model, x):
    return ops.convert_to_numpy(model(x))


@pytest.mark.filterwarnings("error:.*lambda")
@pytest.mark.parametrize("activation", FUNCTIONS.values(), ids=FUNCTIONS)
def test_models_keep_their_functions(activation):
    """Converted, excluded, baked, and in a wrapper layer."""
    inputs = keras.Input((4, 3))
    x = L.TimeDistributed(L.Dense(5, activation=activation), name="wrapped")(inputs)
    x = L.Dense(5, activation=activation, name="inline")(x)
    x = L.Activation(activation, name="layer")(x)
    x = L.Dense(4, activation="relu", name="last")(L.Flatten()(x))
    model = models.live_in(keras.Model(inputs, x))
    x = models.samples(model, 6)
    expected = predict(model, x)
    only_last = kp.convert(model, **EXACT, include="last")
    all_sites = kp.convert(model, **EXACT, include="*")
    for converted in (only_last, all_sites, kp.bake(model), kp.bake(only_last), kp.bake(all_sites)):
        np.testing.assert_array_equal(predict(converted, x), expected)
    np.testing.assert_array_equal(predict(model, x), expected)


class Shifted(L.Layer):
    """An activation with code that is no rectifier as a whole."""

    def call(self, inputs):
        return ops.relu(inputs) + 0.1


def test_rectifiers_inside_an_activation_are_left():
    """A copy applies the activation of the original itself, which must not change."""
    inputs, activation = keras.Input((4, 3)), Shifted()
    x = L.TimeDistributed(L.Dense(5, activation=activation), name="wrapped")(inputs)
    x = L.Activation(activation, name="layer")(L.Dense(5, activation=activation, name="inline")(x))
    model = models.live_in(keras.Model(inputs, L.Dense(2)(L.ReLU(name="last")(L.Flatten()(x)))))
    x = models.samples(model, 6)
    expected = predict(model, x)
    sites = kp.find_sites(model)
    assert [site.path for site in sites if site.convertible] == ["last"]
    left = [site for site in sites if not site.convertible]
    assert left
    assert all("has as its activation" in site.reason for site in left)
    converted = kp.convert(model, **EXACT, include="*")
    np.testing.assert_array_equal(predict(converted, x), expected)
    np.testing.assert_array_equal(predict(model, x), expected)


def test_calibration_with_a_lambda():
    inputs = keras.Input((6,))
    x = L.Dense(8, activation=lambda x: ops.maximum(x, 0.0))(inputs)
    x = L.Dense(8, activation=lambda x: ops.sin(x))(L.Dense(8, activation="relu")(x))
    model = models.live_in(keras.Model(inputs, L.Dense(2)(x)))
    samples = np.random.default_rng(0).normal(size=(200, 6)).astype("float32")
    converted = kp.run_conversion(model, alpha=0.1, calibration_data=samples)
    assert len(converted.sites) == 2
    assert converted.calibration.error_after < converted.calibration.error_before


def test_a_file_says_what_keras_says(tmp_path):
    inputs = keras.Input((4,))
    x = L.Dense(3, activation=functools.partial(A.relu, threshold=0.5))(inputs)
    model = keras.Model(inputs, L.Dense(2, activation="relu")(x))
    converted = kp.convert(model, **EXACT, include="*")
    with pytest.raises(Exception) as keras_error:
        model.save(tmp_path / "model.keras")
    with pytest.raises(Exception) as error:
        converted.save(tmp_path / "converted.keras")
    assert str(error.value).split("\n")[0] == str(keras_error.value).split("\n")[0]


def test_other_functions_of_a_layer():
    """Regularizers, constraints and initializers that are functions, and those of a Lambda."""
    function = functools.partial(ops.add, 1.0)
    dense = L.Dense(
        3,
        kernel_regularizer=lambda w: 0.1 * ops.sum(w),
        kernel_constraint=lambda w: w,
        bias_initializer=lambda shape, dtype=None: ops.ones(shape, dtype),
    )
    copy = rebuild(dense)
    for name in ("kernel_regularizer", "kernel_constraint", "bias_initializer"):
        assert getattr(copy, name) is getattr(dense, name)
    assert rebuild(L.Lambda(lambda x: x + 1.0)).function(1.0) == 2.0
    layer = L.Lambda(function, output_shape=lambda shape: shape)
    assert rebuild(layer).function is function
    cell = L.SimpleRNN(3, activation=lambda x: ops.relu(x))
    assert rebuild(cell).activation is cell.activation


@registered
class Holds(L.Layer):
    """Serializes its activation, and gives it to a layer inside as well."""

    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self.activation = A.get(activation)
        self.dense = L.Dense(3, activation=activation)
        self.own = lambda x: self.activation(x) * 2.0

    def build(self, shape):
        self.dense.build(shape)

    def call(self, inputs):
        return self.own(self.dense(inputs))

    def get_config(self):
        return {**super().get_config(), "activation": A.serialize(self.activation)}


@registered
class WritesTheFunctionItself(Holds):
    def get_config(self):
        return {**L.Layer.get_config(self), "activation": self.activation}


@registered
class Forgets(L.Layer):
    """Leaves its function out of its configuration."""

    def __init__(self, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.table = {"act": [A.get(activation)]}

    def call(self, inputs):
        return self.table["act"][0](inputs)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return super().get_config()


@pytest.mark.parametrize("cls", [Holds, WritesTheFunctionItself, Forgets])
@pytest.mark.parametrize("activation", FUNCTIONS.values(), ids=FUNCTIONS)
def test_custom_layers(cls, activation):
    if isinstance(activation, L.Layer):
        pytest.skip("a configuration describes layers, or does not")
    inputs = keras.Input((4,))
    x = L.Dense(3, activation="relu", name="last")(cls(activation)(inputs))
    model = models.live_in(keras.Model(inputs, x))
    x = models.samples(model, 6)
    converted = kp.convert(model, **EXACT, include="last")
    np.testing.assert_array_equal(predict(converted, x), predict(model, x))


def test_a_function_that_a_layer_makes_for_itself_stays_its_own():
    layer = Holds(lambda x: ops.relu(x) + 0.1)
    copy = rebuild(layer)
    assert copy.own is not layer.own
    assert copy.own.__closure__[0].cell_contents is copy
    assert copy.activation is layer.activation
    assert copy.dense.activation is layer.dense.activation


@registered
class CreatesLater(L.Layer):
    """Has more layers inside after `build`, in front of those that its constructor created."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = L.Dense(4, activation="tanh")

    def build(self, shape):
        self.later = L.Dense(4, activation="linear")
        self.later.build(shape)
        self.first.build(shape)

    def call(self, inputs):
        return self.first(self.later(inputs))


def _attention():
    return L.MultiHeadAttention(2, 2)


@registered
class Stack(L.Layer):
    """Blocks of a layer that creates others in `build`, and of an activation."""

    def __init__(self, make, **kwargs):
        super().__init__(**kwargs)
        self.make = make
        self.blocks = [make() for _ in range(3)]
        self.activated = {"dense": [L.Dense(4, activation="gelu") for _ in range(3)]}
        self.network = keras.Sequential([L.Dense(4, activation=ops.sin), L.Dense(4, "tanh")])

    def build(self, shape):
        for block, dense in zip(self.blocks, self.activated["dense"], strict=True):
            block.build(*[shape] * (2 if isinstance(block, L.MultiHeadAttention) else 1))
            dense.build(shape)
        self.network.build(shape)

    def call(self, x):
        for block, dense in zip(self.blocks, self.activated["dense"], strict=True):
            x = dense(block(x, x) if isinstance(block, L.MultiHeadAttention) else block(x))
        return self.network(x)

    def get_config(self):
        return {**super().get_config(), "make": self.make}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@pytest.mark.parametrize("make", [_attention, CreatesLater])
def test_layers_that_are_created_when_a_layer_is_built(make):
    inputs = keras.Input((5, 4))
    x = L.Dense(3, activation="relu", name="last")(Stack(make, name="stack")(inputs))
    model = models.live_in(keras.Model(inputs, x))
    x = models.samples(model, 6)
    converted = kp.convert(model, **EXACT, include="last")
    stack = converted.get_layer("stack")
    assert {dense.activation for dense in stack.activated["dense"]} == {A.gelu}
    assert [dense.activation for dense in stack.network.layers] == [ops.sin, A.tanh]
    np.testing.assert_array_equal(predict(converted, x), predict(model, x))


def test_what_fit_compiles_is_not_carried():
    class Model(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = L.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    model = Model()
    model.compile("sgd", "mse")
    x = np.ones((4, 3), "float32")
    model.fit(x, x[:, :2], verbose=0)
    model.predict(x, verbose=0)
    assert rebuild(model).predict_function is None


def test_a_layer_without_its_activation():
    layer = L.Dense(3, activation=lambda x: ops.softmax(x), activity_regularizer="l2")
    activation = layer.activation
    copy = rebuild(layer, linear=True)
    assert copy.activation is A.linear
    assert copy.activity_regularizer is None
    assert layer.activation is activation


class Within(keras.constraints.Constraint):
    """Has no configuration, and is not registered."""

    def __call__(self, w):
        return ops.clip(w, -0.1, 0.1)


class SquaresTimes(keras.Regularizer):
    """Has a configuration, and is not registered."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor * ops.sum(ops.square(x))

    def get_config(self):
        return {"factor": self.factor}


OBJECTS = {
    "constraint": {"kernel_constraint": Within()},
    "regularizer": {"bias_regularizer": SquaresTimes(0.3)},
    "regularizer of outputs": {"activity_regularizer": SquaresTimes(0.3)},
    "function of outputs": {"activity_regularizer": lambda x: ops.sum(x)},
}


@pytest.mark.parametrize("arguments", OBJECTS.values(), ids=OBJECTS.keys())
@pytest.mark.parametrize(
    "layer",
    [
        lambda **arguments: L.Dense(5, "relu", **arguments),
        lambda **arguments: L.Dense(5, "tanh", **arguments),
        lambda **arguments: L.LSTM(5, **arguments),
        lambda **arguments: L.TimeDistributed(L.Dense(5, **arguments)),
    ],
    ids=["converted", "kept", "recurrent", "wrapped"],
)
def test_objects_that_no_configuration_describes(layer, arguments):
    inputs = keras.Input((3, 4))
    outputs = L.Dense(2)(L.Flatten()(L.Dense(4, "relu")(layer(**arguments)(inputs))))
    model = models.live_in(keras.Model(inputs, outputs))
    converted = kp.convert(model, **EXACT)
    x = np.random.default_rng(0).normal(size=(8, 3, 4)).astype("float32")
    np.testing.assert_array_equal(converted.predict(x, verbose=0), model.predict(x, verbose=0))
    losses = []
    for each in (model, converted):
        each(x)
        losses.append(sum(float(ops.convert_to_numpy(loss)) for loss in each.losses))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    shared = [
        {
            id(o)
            for v in each.variables
            for o in (getattr(v, "constraint", None), v.regularizer)
            if o
        }
        for each in (model, converted)
    ]
    assert shared[0] == shared[1]
