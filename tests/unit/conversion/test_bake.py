"""keras_prelu.conversion.bake: stock layers alone that compute the same, and load where this
package is not installed."""

import textwrap

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.sites.prelu_layers import prelu_layers
from keras_prelu.training.slope_optimizer import SlopeOptimizer
from tests.helpers import coded, custom, models
from tests.helpers.processes import output_of_python
from tests.helpers.references import prelu

L = keras.layers


def assert_same_function(model, baked, rtol=1e-6):
    x = models.samples(model, 16)
    expected = models.outputs(model, x)
    np.testing.assert_allclose(
        models.outputs(baked, x), expected, rtol=0, atol=rtol * np.abs(expected).max()
    )


def classes(model):
    """The class of each layer, and the package it is from, nested models opened."""
    found = set()
    for layer in model.layers:
        found |= {(type(layer).__module__.split(".")[0], type(layer).__name__)}
        found |= classes(layer) if isinstance(layer, keras.Model) else set()
    return found


@pytest.mark.parametrize("build", models.ALL)
@pytest.mark.parametrize("fold", [False, True])
def test_stock_layers_compute_the_same(build, fold):
    converted = models.with_slopes(kp.convert(models.live_in(build()), rescale="none"))
    before = models.outputs(converted, models.samples(converted, 16))
    baked = kp.bake(converted, fold_batch_normalization=fold)
    assert_same_function(converted, baked, 2e-5 if fold else 1e-6)
    np.testing.assert_array_equal(
        models.outputs(converted, models.samples(converted, 16)), before
    )  # it is untouched
    assert {package for package, _ in classes(baked)} == {"keras"}
    assert isinstance(baked, keras.Sequential) == isinstance(converted, keras.Sequential)
    assert ("keras", "PReLU") in classes(baked)


def one_layer(slopes, max_value=None, **kwargs):
    shape = np.shape(slopes) or (4,)
    layer = kp.PReLU(slopes, parameterization="identity", max_value=max_value, name="act", **kwargs)
    return keras.Sequential([keras.Input(shape), layer])


@pytest.mark.parametrize(
    ("slopes", "max_value", "expected"),
    [
        (0.0, None, ["ReLU"]),
        (0.0, 6.0, ["ReLU"]),
        (0.3, None, ["LeakyReLU"]),
        (0.3, 2.0, ["ReLU"]),
        (1.0, None, ["Identity"]),
        (1.0, 2.0, ["ReLU"]),
        (-0.3, None, ["PReLU"]),
        ([0.1, 0.2, 0.0, -3.0], None, ["PReLU"]),
        ([0.1, 0.2, 0.0, -3.0], 2.0, ["PReLU", "ReLU"]),
    ],
)
def test_the_simplest_stock_layer_is_chosen(slopes, max_value, expected):
    model = one_layer(slopes, max_value)
    baked = kp.bake(model)
    assert [type(layer).__name__ for layer in baked.layers] == expected
    assert [layer.name for layer in baked.layers] == ["act", "act_cap"][: len(expected)]
    x = np.random.default_rng(0).normal(0.0, 3.0, (64, 4)).astype("float32")
    reference = prelu(x, slopes) if max_value is None else np.minimum(prelu(x, slopes), max_value)
    np.testing.assert_allclose(models.outputs(baked, x), reference, rtol=1e-6)


@pytest.mark.parametrize("shared_axes", ["channel_wise", "channel_shared", None, [1, 3]])
def test_slopes_are_shared_along_the_same_axes(shared_axes):
    model = keras.Sequential(
        [
            keras.Input((5, 4, 3)),
            kp.PReLU(keras.initializers.RandomUniform(0.1, 0.4, seed=1), shared_axes=shared_axes),
        ]
    )
    baked = kp.bake(model)
    assert_same_function(model, baked)
    assert baked.count_params() == (0 if shared_axes == "channel_shared" else model.count_params())


def test_a_frozen_layer_stays_frozen_and_policies_stay():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            L.Dense(3),
            kp.PReLU([0.1, 0.2, 0.3], dtype="mixed_bfloat16", name="act"),
        ]
    )
    model.get_layer("act").trainable = False
    baked = kp.bake(model)
    assert not baked.get_layer("act").trainable
    assert baked.get_layer("act").dtype_policy.name == "mixed_bfloat16"
    assert baked.get_layer(model.layers[0].name).trainable


def test_small_slopes_are_pruned_on_request():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            kp.PReLU([0.01, 0.02, 0.005], name="small"),
            kp.PReLU([0.01, 0.2, 0.1], name="large"),
        ]
    )
    assert [type(layer).__name__ for layer in kp.bake(model).layers] == ["PReLU", "PReLU"]
    pruned = kp.bake(model, prune=0.02)
    assert [type(layer).__name__ for layer in pruned.layers] == ["ReLU", "PReLU"]
    for wrong in (-0.1, float("nan"), True, "0"):
        with pytest.raises(kp.errors.InvalidArgumentError, match="prune"):
            kp.bake(model, prune=wrong)


def test_a_constraint_that_is_enforced_is_baked_in():
    layer = kp.PReLU(
        [-0.5, 0.2], parameterization="identity", alpha_constraint=kp.constraints.AtLeast(0.1)
    )
    model = keras.Sequential([keras.Input((2,)), layer])
    assert_same_function(model, kp.bake(model))


def test_compile_settings_stay_without_our_optimizer():
    model = kp.convert(models.mlp(), rescale="none")
    x, y = models.samples(model, 32), np.zeros((32, 3))
    model.compile(
        SlopeOptimizer(keras.optimizers.Adam(0.02), multiplier=4.0), loss="mse", metrics=["mae"]
    )
    baked = kp.bake(model)
    assert isinstance(baked.optimizer, keras.optimizers.Adam)
    assert float(baked.optimizer.learning_rate) == pytest.approx(0.02)
    np.testing.assert_allclose(
        baked.evaluate(x, y, verbose=0), model.evaluate(x, y, verbose=0), rtol=1e-5
    )
    assert not kp.bake(kp.convert(models.mlp(), rescale="none")).compiled


@pytest.mark.filterwarnings("ignore:.*does not have a `build")  # custom.Outer
@pytest.mark.parametrize(
    "make",
    [
        lambda: custom.Block(4),
        custom.Outer,
        lambda: L.TimeDistributed(L.Dense(3, activation="relu")),
    ],
)
def test_python_code_whose_slopes_are_pruned_is_the_users_own_again(tmp_path, make):
    """With weights, frozen parts and the class as they were; with the same slopes unpruned, the
    layers that the code calls take its place."""
    inputs = keras.Input((6, 6, 3))
    model = models.live_in(keras.Model(inputs, L.Dense(2)(make()(inputs))))
    layer = model.layers[1]
    next(iter(layer._flatten_layers(include_self=False))).trainable = False
    converted = kp.convert(
        model, alpha=0.01, rescale="none", parameterization="identity", include="*"
    )
    baked = kp.bake(converted, prune=0.01)
    assert type(baked.layers[1]) is type(layer)
    assert not any(isinstance(part, kp.PReLU) for part in baked._flatten_layers())
    x = models.samples(model, 8)
    np.testing.assert_array_equal(models.outputs(baked, x), models.outputs(model, x))
    assert [v.trainable for v in baked.variables] == [v.trainable for v in model.variables]
    baked.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        models.outputs(keras.models.load_model(tmp_path / "model.keras"), x),
        models.outputs(model, x),
    )
    if not isinstance(layer, L.TimeDistributed):
        opened = kp.bake(converted, prune=0.001)
        assert not any(isinstance(part, kp.PReLU) for part in opened._flatten_layers())
        np.testing.assert_allclose(
            models.outputs(opened, x), models.outputs(converted, x), rtol=1e-5, atol=1e-6
        )
    assert any(isinstance(part, kp.PReLU) for part in converted._flatten_layers())


@pytest.mark.backends
@pytest.mark.filterwarnings("ignore:Baked as a graph")
@pytest.mark.parametrize(
    "make", [coded.built, lambda: coded.built(coded.Unconfigured, lambda x: x)]
)
def test_subclassed_models_become_graphs_of_stock_layers(make, tmp_path):
    model = kp.convert(make())
    model.compile(SlopeOptimizer(keras.optimizers.Adam(0.02)), loss="mse")
    rng = np.random.default_rng(0)
    for _, layer in prelu_layers(model):
        layer.beta.assign(rng.uniform(-0.3, 0.6, layer.beta.shape))
    slopes = [keras.ops.convert_to_numpy(layer.beta) for _, layer in prelu_layers(model)]
    before = coded.outputs(model)
    baked = kp.bake(model)
    np.testing.assert_array_equal(coded.outputs(model), before)
    expected = coded.reference(model, slopes)
    np.testing.assert_allclose(coded.outputs(baked), expected, rtol=1e-5, atol=1e-5)
    assert isinstance(baked.optimizer, keras.optimizers.Adam)
    baked.save(tmp_path / "baked.keras")
    loaded = keras.models.load_model(tmp_path / "baked.keras")
    assert {type(layer).__module__.split(".")[0] for layer in loaded._flatten_layers()} == {"keras"}
    np.testing.assert_allclose(coded.outputs(loaded), expected, rtol=1e-5, atol=1e-5)
    x, y = coded.X, np.zeros((len(coded.X), 3))
    loaded.fit(x, y, epochs=1, verbose=0)
    assert not np.array_equal(coded.outputs(loaded), coded.outputs(baked))


def test_subclassed_models_without_slopes_get_their_class_back():
    original = coded.built()
    baked = kp.bake(kp.convert(original))
    assert type(baked) is coded.Coded
    np.testing.assert_array_equal(coded.outputs(baked), coded.outputs(original))
    some = kp.convert(original, alpha=0.2, rescale="none", include="blocks*")
    with pytest.warns(kp.errors.KerasPReLUWarning, match="'coded.*Coded.*not kept"):
        kinds = [type(layer).__name__ for layer in kp.bake(some).layers]
    assert kinds.count("LeakyReLU") == 4  # The capped one is an operation of the graph.


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (coded.WithOwnWeight, "weight '.*shift'"),
        (coded.ReadsValues, "symbolic tensors"),
    ],
)
def test_what_no_graph_holds_is_refused_with_ways_out(cls, reason):
    converted = kp.convert(coded.built(cls), alpha=0.2, rescale="none")
    before = coded.outputs(converted)
    with pytest.raises(
        kp.errors.ConversionError, match=rf"{cls.__name__}.*{reason}.*export.*to=\"relu\""
    ) as caught:
        kp.bake(converted)
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(coded.outputs(converted), before)
    back = kp.convert(converted, to="relu", rescale="none")
    assert type(back) is cls


def bake_with_warning(cls, message):
    """Return a converted model and its baked one, which leaves out what no prediction needs."""
    converted = kp.convert(coded.built(cls), alpha=0.2, rescale="none")
    with pytest.warns(kp.errors.KerasPReLUWarning, match=message):
        baked = kp.bake(converted)
    np.testing.assert_allclose(coded.outputs(baked), coded.outputs(converted), rtol=1e-5, atol=1e-6)
    return converted, baked


@pytest.mark.filterwarnings("ignore:Baked as a graph", "ignore:.*does not have a `build")
def test_layers_of_training_alone_are_left_out_with_a_warning():
    bake_with_warning(coded.WithAuxiliary, "lacks weights.*auxiliary|dense")


@pytest.mark.filterwarnings("ignore:Baked as a graph", "ignore:.*does not have a `build")
def test_losses_that_code_adds_are_left_out_with_a_warning():
    converted, baked = bake_with_warning(coded.AddsLoss, "does not add the losses.*'adds_loss")
    assert len(converted.losses) == 1
    assert not baked.losses


@pytest.mark.filterwarnings("ignore:Baked as a graph")
def test_masks_that_functions_drop_stay_dropped():
    class Recurrent(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = L.Embedding(20, 6, mask_zero=True)
            self.gru, self.head = L.GRU(5), L.Dense(2)

        def call(self, x):
            return self.head(self.gru(keras.ops.relu(self.embedding(x))))

    x = np.random.default_rng(0).integers(1, 20, (9, 7))
    x[:, 4:] = 0
    model = Recurrent()
    model(x)
    converted = kp.convert(model, alpha=0.3, rescale="none")
    baked = kp.bake(converted)
    expected = coded.outputs(converted, x)
    np.testing.assert_allclose(coded.outputs(baked, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Converted as a graph")
def test_a_layer_that_is_called_twice_is_opened_with_its_weights_shared():
    inputs = keras.Input((6,))
    block = coded.Branch(6)
    model = models.live_in(keras.Model(inputs, L.Dense(2)(block(block(inputs)))))
    block.trainable = False
    converted = kp.convert(model, alpha=0.3, rescale="none")
    baked = kp.bake(converted)
    x = models.samples(model, 9)
    np.testing.assert_allclose(
        models.outputs(baked, x), models.outputs(converted, x), rtol=1e-5, atol=1e-6
    )
    assert len(baked.weights) == len(model.weights)
    assert len(baked.trainable_weights) == len(model.trainable_weights) == 2


def test_a_prelu_that_the_user_wrote_into_code_is_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.prelu = L.Dense(4), kp.PReLU(name="own")

        def call(self, x):
            return self.prelu(self.dense(x))

    model = Own()
    model(coded.X)
    with pytest.raises(kp.errors.ConversionError, match="'own' is a PReLU layer that Python code"):
        kp.bake(model)


@keras.saving.register_keras_serializable("tests")
class Conditional(L.Layer):
    """Asks for the number of samples, or for the sign of their mean."""

    def __init__(self, asks="count", **kwargs):
        super().__init__(**kwargs)
        self.asks = asks
        self.act = L.ReLU(name="act")
        self.dense = L.Dense(4)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, inputs):
        h = self.act(self.dense(inputs))
        if self.asks == "count":
            return 2 * h if keras.ops.shape(inputs)[0] == 1 else h
        sign = keras.ops.mean(inputs) >= 0
        if self.asks == "sign of an input":
            return h + keras.ops.cond(sign, lambda: inputs, lambda: -inputs)
        return keras.ops.cond(keras.ops.mean(h) >= 0, lambda: h, lambda: -h)

    def get_config(self):
        return {**super().get_config(), "asks": self.asks}


@pytest.mark.parametrize(
    ("asks", "reason"),
    [
        ("count", "for one sample alone.*asks how many samples"),
        ("sign of an input", "a branch of keras.ops.cond returns a tensor"),
        ("sign", "is part of a cycle"),
    ],
)
def test_code_of_which_a_graph_has_one_branch_is_refused(asks, reason):
    model = keras.Sequential([keras.Input((4,)), Conditional(asks)])
    converted = kp.convert(model, include="*", alpha=0.25, rescale="none")
    with pytest.raises(kp.errors.ConversionError, match=reason):
        kp.bake(converted)


def steps(layer, shape=(3, 4)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, L.Flatten()(L.TimeDistributed(layer)(inputs)))


def masked_steps():
    inputs = keras.Input((5, 4))
    h = L.TimeDistributed(L.Dense(3, activation="relu"))(L.Masking()(inputs))
    return keras.Model(inputs, L.LSTM(2)(h))


def steps_twice():
    inputs = keras.Input((3, 4))
    wrapper = L.TimeDistributed(L.Dense(4, activation="relu6"))
    return keras.Model(inputs, L.Flatten()(wrapper(wrapper(inputs))))


@pytest.mark.parametrize(
    "build",
    [
        lambda: steps(L.Dense(4, activation="relu")),
        lambda: steps(L.TimeDistributed(L.Dense(3, activation="relu")), (2, 3, 4)),
        lambda: steps(
            keras.Sequential([keras.Input((5, 5, 2)), L.Conv2D(3, 3), L.ReLU()]), (3, 5, 5, 2)
        ),
        masked_steps,
        steps_twice,
    ],
    ids=["Dense", "two wrappers", "images", "mask", "called twice"],
)
def test_what_is_called_at_each_step_has_its_slopes_in_the_wrapper(build, tmp_path):
    converted = kp.convert(models.live_in(build()), include="*", rescale="none")
    for _, layer in prelu_layers(converted):
        layer.beta.assign(np.random.default_rng(0).normal(-1.0, 0.3, layer.beta.shape))
    kp.bake(converted).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same_function(converted, loaded)
    assert "keras_prelu" not in loaded.to_json()
    assert ("keras", "TimeDistributed") in classes(loaded)


@pytest.mark.parametrize("operation", [kp.bake, lambda model: kp.convert(model, to="relu")])
def test_slopes_that_another_operation_is_called_with_are_not_replaced(operation):
    inputs = keras.Input((4,))
    act = kp.PReLU(0.0, parameterization="identity", name="act")
    outputs = act(inputs)
    model = keras.Model(inputs, outputs + keras.ops.multiply(inputs, act.beta))
    with pytest.raises(
        kp.errors.ConversionError, match=r"'act' .* can't be replaced: .*'act/alpha'"
    ):
        operation(model)


def test_tensors_without_channels_have_no_slopes_to_bake():
    inputs = keras.Input((4,))
    h = kp.PReLU(0.25, name="act")(L.Dense(3)(inputs))
    empty = kp.PReLU(name="empty", max_value=6.0)(h[:, :0])
    model = keras.Model(inputs, keras.ops.concatenate([h, empty], -1))
    assert type(kp.bake(model).get_layer("empty")) is L.ReLU
    assert [each.path for each in kp.diagnostics.layer_slopes(model)] == ["act"]
    simplified = kp.simplify(model, models.samples(model, 16))
    assert [each.path for each in simplified.layers] == ["act"]
    assert_same_function(model, kp.convert(model, to="leaky_relu"))


@pytest.mark.slow
def test_it_loads_where_this_package_is_not_installed(tmp_path):
    """A fresh process in which importing the package fails."""
    expected = {}
    for build in (models.residual, models.capped):
        model = kp.convert(models.live_in(build()), rescale="none")
        models.with_slopes(model).compile(SlopeOptimizer(keras.optimizers.Adam(0.02)), loss="mse")
        x = models.samples(model, 8)
        kp.bake(model).save(tmp_path / f"{build.__name__}.keras")
        np.save(tmp_path / f"{build.__name__}.npy", x)
        expected[build.__name__] = models.outputs(model, x)
    program = """
        import sys
        sys.modules["keras_prelu"] = None
        import keras, numpy as np
        for name in sys.argv[1:]:
            model = keras.models.load_model(f"{name}.keras")
            np.save(f"{name}.npy", keras.ops.convert_to_numpy(model(np.load(f"{name}.npy"))))
    """
    output_of_python("-c", textwrap.dedent(program), *expected, cwd=tmp_path)
    for name, values in expected.items():
        np.testing.assert_allclose(
            np.load(tmp_path / f"{name}.npy"), values, rtol=0, atol=1e-5 * np.abs(values).max()
        )


@pytest.mark.parametrize("slopes", [[0.0, 0.0], [0.25, 0.25], [1.0, 1.0], [0.1, 0.3]])
@pytest.mark.parametrize("max_value", [None, 6.0])
def test_activity_regularizers_are_kept(tmp_path, slopes, max_value):
    layer = kp.PReLU(
        0.5, parameterization="identity", max_value=max_value, activity_regularizer="l2"
    )
    model = keras.Sequential([keras.Input((2,)), layer])
    layer.beta.assign(slopes)
    baked = kp.bake(model)
    baked.save(tmp_path / "baked.keras")
    x, losses = np.float32([[-1.0, 2.0], [9.0, -3.0]]), []
    for each in (model, baked, keras.models.load_model(tmp_path / "baked.keras")):
        each.compile(loss="mse")
        losses.append(each.evaluate(x, x, verbose=0))
    plain = float(np.mean((model.predict(x, verbose=0) - x) ** 2))
    assert losses == pytest.approx([losses[0]] * 3)
    assert losses[0] > plain + 0.01


def test_slopes_in_double_precision_are_baked_in_double_precision():
    layer = kp.PReLU(0.1, parameterization="identity", dtype="float64")
    model = keras.Sequential([keras.Input((2,), dtype="float64"), layer])
    x = np.array([[-1.0, -2.0]])
    baked = kp.bake(model)
    np.testing.assert_array_equal(baked.predict(x, verbose=0), model.predict(x, verbose=0))
    assert isinstance(baked.layers[0], keras.layers.PReLU)
    layer.beta.assign(np.full(layer.beta.shape, 0.25))
    assert isinstance(kp.bake(model).layers[0], keras.layers.LeakyReLU)
