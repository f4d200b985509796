"""Names and structures of inputs and outputs, and compile settings that go by them, through
conversion, baking, folding, and files: training finds the same losses under the same names."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.conversion.rewriter import rewrite
from tests.helpers import models
from tests.helpers.marks import slow_except

L = keras.layers
EXACT = {"alpha": 0.0, "parameterization": "identity", "rescale": "none"}
N = 12


def samples(model, seed=0):
    """Positive samples in the structure of the model's inputs."""
    rng = np.random.default_rng(seed)
    return keras.tree.map_structure(
        lambda tensor: rng.uniform(0.1, 1.0, (N, *tensor.shape[1:])).astype("float32"), model.input
    )


def trunk(width=4):
    inputs = keras.Input((5,), name="features")
    return inputs, L.Dense(width, activation="relu", name="hidden")(inputs)


def one_output():
    inputs, hidden = trunk()
    return keras.Model(inputs, L.Dense(1, activation="relu", name="reg")(hidden))


def one_named_output():
    inputs, hidden = trunk()
    return keras.Model(inputs, {"reg": L.Dense(1, activation="relu", name="reg")(hidden)})


def key_other_than_the_layer():
    inputs, hidden = trunk()
    return keras.Model(inputs, {"price": L.Dense(1, activation="relu", name="reg")(hidden)})


def relu_layer_as_output():
    inputs, hidden = trunk()
    return keras.Model(inputs, L.ReLU(name="reg")(L.Dense(1, name="score")(hidden)))


def capped_layer_as_output():
    inputs, hidden = trunk()
    return keras.Model(inputs, L.ReLU(max_value=6, name="reg")(L.Dense(1, name="score")(hidden)))


def op_as_output():
    inputs, hidden = trunk()
    return keras.Model(inputs, keras.ops.relu(L.Dense(1, name="score")(hidden)))


def normalized_output():
    inputs, hidden = trunk()
    return keras.Model(inputs, L.BatchNormalization(name="reg")(L.Dense(1, name="score")(hidden)))


def several(structure):
    def build():
        inputs, hidden = trunk()
        first = L.Dense(2, activation="relu", name="zoo")(hidden)
        second = L.ReLU(name="reg")(L.Dense(1, name="score")(hidden))
        return keras.Model(inputs, structure(first, second, hidden))

    build.__name__ = structure.__name__
    return build


def as_list(first, second, _):
    return [first, second]


def as_tuple(first, second, _):
    return (first, second)


def as_dict(first, second, _):
    return {"zoo": first, "reg": second}


def as_dict_of_other_keys(first, second, _):
    return {"b": first, "a": second}


def as_nested(first, second, _):
    return {"x": [first], "y": {"z": second}}


def with_hidden(first, second, hidden):
    return [first, hidden, second]


def the_same_twice(first, second, _):
    return [first, second, first]


def shared_at_two_outputs():
    inputs = keras.Input((5,), name="features")
    shared = L.Dense(3, activation="relu", name="shared")
    return keras.Model(inputs, [shared(inputs), shared(inputs * 2.0)])


def nested_model_as_output():
    inner_inputs = keras.Input((4,))
    inner = keras.Model(inner_inputs, L.Dense(2, activation="relu", name="in")(inner_inputs))
    inner.name = "inner"
    inputs, hidden = trunk()
    return keras.Model(inputs, [inner(hidden), L.Dense(1, activation="relu", name="reg")(hidden)])


def dict_of_inputs():
    inputs = {
        "wide": keras.Input((3,), name="wide"),
        "deep": keras.Input((5,), name="deep"),
    }
    hidden = L.Concatenate()([inputs["wide"], L.Dense(4, activation="relu")(inputs["deep"])])
    return keras.Model(inputs, L.Dense(1, activation="relu", name="reg")(hidden))


def list_of_inputs():
    inputs = [keras.Input((3,), name="b"), keras.Input((3,), name="a")]
    hidden = L.Subtract()([L.Dense(3, activation="relu")(inputs[0]), inputs[1]])
    return keras.Model(inputs, L.Dense(1, activation="relu", name="reg")(hidden))


BUILDERS = (
    one_output,
    one_named_output,
    key_other_than_the_layer,
    relu_layer_as_output,
    capped_layer_as_output,
    op_as_output,
    normalized_output,
    *map(
        several,
        (as_list, as_tuple, as_dict, as_dict_of_other_keys, as_nested, with_hidden, the_same_twice),
    ),
    shared_at_two_outputs,
    nested_model_as_output,
    dict_of_inputs,
    list_of_inputs,
)


def labels(model):
    rng = np.random.default_rng(1)
    return keras.tree.map_structure(
        lambda tensor: rng.normal(size=(N, *tensor.shape[1:])).astype("float32"), model.output
    )


def converted(model):
    return kp.convert(model, include="*", **EXACT)


def loaded(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


def bare_file(model, folder):
    """The model from a file that names no class of this package."""
    model.save(folder / "bare.keras")
    assert "keras_prelu" not in str(model.get_config())
    return keras.saving.load_model(folder / "bare.keras")


def stages(model, folder):
    """The model after each operation, by the operation's name."""
    new = converted(model)
    yield "convert", new
    yield "file", loaded(new, folder)
    yield "copy", rewrite(new)
    sloped = kp.convert(model, include="*", alpha=0.2, rescale="none")
    for name, one in (("bake", new), ("bake slopes", sloped)):
        yield name, kp.bake(one)
        yield f"{name}, file", bare_file(kp.bake(one), folder)
        yield f"{name}, fold", bare_file(kp.bake(one, fold_batch_normalization=True), folder)


def tuples_as_lists(structure):
    is_structure = isinstance(structure, tuple) and structure and isinstance(structure[0], tuple)
    return list(structure) if is_structure else structure


def has_unique_names(model):
    return len(set(model.output_names)) == len(model.output_names)


FAST = (
    "op_as_output",
    "key_other_than_the_layer",
    "as_nested",
    "the_same_twice",
    "nested_model_as_output",
)


@pytest.mark.parametrize("build", slow_except(FAST, {b.__name__: b for b in BUILDERS}))
def test_names_and_structures_of_outputs(build, tmp_path):
    if build.__name__ == "as_nested" and keras.backend.backend() == "tensorflow":
        pytest.skip("Keras can't train nested outputs on TensorFlow")
    model = build()
    model.compile("sgd", "mse", metrics=None)
    x, y = samples(model), labels(model)
    history = model.fit(x, y, validation_data=(x, y), epochs=1, verbose=0).history
    predicted = keras.tree.map_structure(np.shape, model.predict(x, verbose=0))
    names = {layer.name for layer in model.layers if not isinstance(layer, L.InputLayer)}
    for stage, new in stages(model, tmp_path):
        is_stock_file = "bake" in stage and stage != "bake" and "," in stage
        if has_unique_names(model) or not is_stock_file:
            assert new.output_names == model.output_names, stage
            result = new.fit(x, y, validation_data=(x, y), epochs=1, verbose=0).history
            assert list(result) == list(history), stage
        assert [tensor.name for tensor in new.inputs] == [tensor.name for tensor in model.inputs]
        keras.tree.assert_same_structure(new.input, model.input)
        shapes = keras.tree.map_structure(np.shape, new.predict(x, verbose=0))
        # A file of Keras stores tuples as lists.
        in_file = "file" in stage or "fold" in stage
        assert shapes == (tuples_as_lists(predicted) if in_file else predicted), stage
        if "fold" not in stage:
            assert names <= {layer.name for layer in new.layers}, stage


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_layers_of_the_user_are_found_by_their_names(build):
    model = build()
    new = converted(model)
    for layer in model.layers:
        if not isinstance(layer, (L.InputLayer, L.ReLU)):
            assert type(new.get_layer(layer.name)).__name__ in (
                type(layer).__name__,
                "ModelWithOutputNames",
            )


class Unregistered(keras.losses.Loss):
    """A loss without a configuration."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def call(self, y_true, y_pred):
        return self.weight * keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


class UnregisteredMetric(keras.metrics.MeanMetricWrapper):
    def __init__(self, weight, name="weighted"):
        super().__init__(lambda y, p: weight * keras.ops.abs(y - p), name=name)
        self.weight = weight

    def get_config(self):
        return {"name": self.name}


def own_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - 2.0 * y_pred), axis=-1)


def mean_squared_error(y_true, y_pred):
    """A function with the name of one of Keras's."""
    return 100.0 + keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


ONE = {
    "list of losses": {"loss": ["mse"]},
    "dict of losses": {"loss": {"reg": "mse"}},
    "loss object": {"loss": keras.losses.Huber(0.3)},
    "own loss": {"loss": own_loss},
    "own loss of a taken name": {"loss": mean_squared_error},
    "lambda": {"loss": lambda y, p: keras.ops.mean(keras.ops.abs(y - 3.0 * p), axis=-1)},
    "unregistered loss": {"loss": Unregistered(7.0)},
    "loss weight": {"loss": "mse", "loss_weights": [3.0]},
    "metrics": {"loss": "mse", "metrics": ["mae", keras.metrics.RootMeanSquaredError()]},
    "list of lists of metrics": {"loss": "mse", "metrics": [["mae", "mse"]]},
    "dict of metrics": {"loss": "mse", "metrics": {"reg": ["mae"]}},
    "own metric": {"loss": "mse", "metrics": [own_loss, UnregisteredMetric(5.0)]},
    "own metric of a taken name": {
        "loss": "mse",
        "metrics": [keras.metrics.MeanMetricWrapper(mean_squared_error, name="own")],
    },
    "weighted metrics": {"loss": "mse", "weighted_metrics": ["mae", keras.metrics.R2Score()]},
    "eager": {"loss": "mse", "run_eagerly": True},
    "not compiled": {"loss": "mse", "jit_compile": False},
    "steps per execution": {"loss": "mse", "steps_per_execution": 2},
}
TWO = {
    "one loss": {"loss": "mse"},
    "list of losses": {"loss": ["mse", "mae"]},
    "losses by name": {"loss": {"zoo": "mse", "reg": "mae"}},
    "weights by name": {
        "loss": {"zoo": "mse", "reg": "mae"},
        "loss_weights": {"zoo": 1.0, "reg": 5.0},
    },
    "list of weights": {"loss": ["mse", "mae"], "loss_weights": [1.0, 5.0]},
    "metrics by name": {
        "loss": "mse",
        # By name, since one metric can't count for the models of two tests.
        "metrics": {"reg": ["mae", "RootMeanSquaredError"], "zoo": "mse"},
    },
    "metrics of some outputs": {"loss": "mse", "metrics": {"reg": ["mae"]}},
    "lists of metrics": {"loss": "mse", "metrics": [["mae"], ["mse", "mae"]]},
    "weighted metrics by name": {"loss": "mse", "weighted_metrics": {"reg": ["mae"]}},
}


def assert_compiled_alike(model, folder, settings):
    model.compile(keras.optimizers.SGD(0.01, momentum=0.5), **settings)
    x, y = samples(model), labels(model)
    weights = np.linspace(0.5, 2.0, N)
    before = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    new = converted(model)
    for each in (new, rewrite(new), kp.bake(new), kp.bake(new, fold_batch_normalization=True)):
        after = each.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
        assert list(after) == list(before)
        for name, value in before.items():
            np.testing.assert_allclose(after[name], value, rtol=1e-5, err_msg=name)
        for name in ("run_eagerly", "jit_compile", "steps_per_execution"):
            assert getattr(each, name) == getattr(model, name)
        assert each.optimizer.get_config() == model.optimizer.get_config()
        each.fit(x, y, verbose=0)


FAST_OF_ONE = ("list of losses", "unregistered loss", "own metric of a taken name", "eager")


@pytest.mark.parametrize("settings", slow_except(FAST_OF_ONE, ONE))
def test_compile_settings_of_one_output(settings, tmp_path):
    if "steps_per_execution" in settings and keras.backend.backend() == "torch":
        pytest.skip("Keras has it on TensorFlow and JAX")
    assert_compiled_alike(one_output(), tmp_path, settings)


FAST_OF_TWO = ("weights by name", "metrics by name")


@pytest.mark.parametrize("structure", [as_list, as_dict])
@pytest.mark.parametrize("settings", slow_except(FAST_OF_TWO, TWO))
def test_compile_settings_of_two_outputs(settings, structure, tmp_path):
    if structure is as_dict and "list" in str(next(k for k, v in TWO.items() if v is settings)):
        pytest.skip("Keras takes losses of a dict of outputs by name")
    assert_compiled_alike(several(structure)(), tmp_path, settings)


def joined():
    return keras.Sequential([L.Concatenate(), L.Dense(8, activation="relu")], name="joined")


def repeated(kind):
    """A model that calls one ReLU layer several times."""
    relu = L.ReLU(name="r")
    if kind == "Sequential":
        return keras.Sequential([keras.Input((6,)), L.Dense(4), relu, L.Dense(3), relu, L.Dense(2)])
    inputs = keras.Input((6,))
    if kind == "functional":
        return keras.Model(inputs, L.Dense(2)(relu(L.Dense(5)(relu(L.Dense(5)(inputs))))))
    relu = L.ReLU(6.0, name="r")
    x = L.Dense(5)(relu(L.Dense(5)(inputs)))  # The second call is a gate, and stays.
    return keras.Model(inputs, L.Dense(2)(x * relu(x + 3.0) / 6.0))


@pytest.mark.parametrize(
    ("kind", "options", "names"),
    [
        ("Sequential", {}, ["r", "r_2"]),
        ("Sequential", {"exclude": "r#2"}, ["r", "r_relu"]),
        ("Sequential", {"include": "r#2"}, ["r", "r_2"]),
        ("functional", {}, ["r", "r_2"]),
        ("functional", {"exclude": "r#2"}, ["r", "r_relu"]),
        ("gate", {}, ["r", "r_relu"]),
        ("gate", {"include": "*"}, ["r", "r_2"]),
    ],
)
def test_a_layer_that_is_called_several_times(kind, options, names, tmp_path):
    model = repeated(kind)
    samples = models.samples(model, 20)
    converted = kp.convert(model, **options)
    kinds = (L.ReLU, kp.PReLU)
    assert [each.name for each in converted.layers if isinstance(each, kinds)] == names
    kp.save_model(converted, tmp_path / "model.keras")
    for other in (converted, kp.load_model(tmp_path / "model.keras"), kp.bake(converted)):
        found, expected = (each.predict(samples, verbose=0) for each in (other, model))
        np.testing.assert_array_equal(found, expected)


def test_a_sequential_without_a_graph_is_refused_in_one_line_before_it_is_called():
    for function in (kp.find_sites, lambda given: kp.convert(given, **EXACT), kp.bake):
        with pytest.raises(kp.errors.ConversionError, match="'joined'") as caught:
            function(joined())
        assert "\n" not in str(caught.value)


def test_a_sequential_without_a_graph_converts_exactly_once_it_was_called():
    model, inputs = joined(), [np.ones((2, 3), "float32"), -np.ones((2, 2), "float32")]
    expected = keras.ops.convert_to_numpy(model(inputs))
    converted = kp.convert(model, include="*", **EXACT)
    assert len(kp.find_sites(model)) == len(kp.diagnostics.layer_slopes(converted)) == 1
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(converted(inputs)), expected)
