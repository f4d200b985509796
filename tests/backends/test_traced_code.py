"""Rectifiers and linear layers in loops, branches and compiled functions: measured, or not seen."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.graph.hooks import HookTarget, hook_seen_calls
from keras_prelu.graph.interpreter import run_plan
from keras_prelu.graph.plan import compile_plan
from tests.helpers import traced

L = keras.layers

BACKEND = keras.backend.backend()
KINDS = (*traced.SEEN_EVERYWHERE, *traced.BRANCHES, *traced.NEVER_SEEN)
EXACT = {"alpha": 0.0, "parameterization": "identity", "rescale": "none"}


def is_seen(path):
    kind = path.split("/")[0]
    return kind in traced.SEEN_EVERYWHERE or (BACKEND == "torch" and kind in traced.BRANCHES)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return traced.model_of(*KINDS)


@pytest.fixture(scope="module")
def samples():
    # The last batch of 128 samples is a smaller one.
    return np.random.default_rng(0).normal(size=(130, 6)).astype("float32")


def test_dead_units_are_counted_where_they_are_seen(model, samples):
    sites = kp.diagnostics.dead_units(model, samples)
    rectifiers = [site.path for site in kp.find_sites(model)]
    assert sorted(site.path for site in sites) == sorted(rectifiers)
    assert {site.path.split("/")[0] for site in sites} == set(KINDS)
    for site in sites:
        assert site.seen == is_seen(site.path), site.path
        assert (site.units > 0) == (site.negative is not None) == site.seen
    first = next(site for site in sites if site.path == "plain/act")
    layer = model.get_layer("plain")
    rows = samples @ np.asarray(layer.inner.get_weights()[0]) + layer.inner.get_weights()[1]
    assert first.dead == int(np.sum(np.all(rows <= 0, axis=0)))
    assert first.negative == pytest.approx(float(np.mean(rows <= 0)))


@pytest.mark.slow
def test_the_signal_and_its_gradients_are_those_of_the_layers_that_are_seen(model, samples):
    layers = kp.diagnostics.signal_by_depth(model, samples[:64])
    kinds = {layer.path.split("/")[0] for layer in layers}
    seen = {kind for kind in KINDS if is_seen(kind)}
    assert kinds - {"rnn"} == {*seen, "last"}  # Behind the recurrent layer, there is a Dense.


@pytest.mark.slow
def test_gradients_pass_rematerialized_layers(samples):
    models = [traced.model_of("plain", kind, "plain") for kind in ("plain", "remat")]
    models[1].set_weights(models[0].get_weights())
    gradients = [
        [layer.gradient for layer in kp.diagnostics.signal_by_depth(each, samples)]
        for each in models
    ]
    np.testing.assert_allclose(*gradients, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The calibrated model differs")
def test_calibration_keeps_layers_that_it_does_not_see(model, samples):
    # Where the backend does not let code be followed, its sites are converted on request.
    converted = kp.convert(model, alpha=0.25, parameterization="exp", rescale="none", include="*")
    record = kp.calibrate(converted, model, samples[:64])
    actions = {layer.path.split("/")[0]: layer.action for layer in record.layers}
    for kind in traced.NEVER_SEEN[:-2]:
        assert actions[kind].startswith("kept: it is not called, or only in a loop"), kind
    assert actions["bidirectional"] == "kept: it runs in the loop of a recurrent layer"
    assert actions["remat"] == "refitted"
    assert record.error_after <= record.error_before


@pytest.mark.filterwarnings("ignore:.*slopes of:keras_prelu.errors.KerasPReLUWarning")
def test_slopes_are_found_and_dead_units_revived(samples):
    model = traced.model_of("plain", "cond", "vectorized_map")
    converted = kp.convert(
        model, parameterization="exp", alpha="auto", calibration_data=samples[:64], include="*"
    )
    assert np.isfinite(converted.predict(samples, verbose=0)).all()
    actions = {site.path.split("/")[0]: site.action for site in kp.revive(model, samples).sites}
    assert actions["vectorized_map"] == "kept: it is not seen"


def test_calls_on_parts_of_a_batch_are_left_alone():
    layer, heard = keras.layers.ReLU(), []
    x = np.ones((4, 2), "float32")
    with hook_seen_calls([HookTarget(layer)], heard.append, rows=4):
        for rows in (x, x[:1], x[:3], np.ones((8, 2), "float32")):
            layer(keras.ops.convert_to_tensor(rows))
    assert [call.inputs.shape[0] for call in heard] == [4, 8]


def test_rematerialization_is_on_again_afterwards():
    before = keras.src.backend.core.remat, keras.src.backend.core.map
    with hook_seen_calls([], print), hook_seen_calls([], print):
        assert keras.src.backend.core.remat is not before[0]
    assert (keras.src.backend.core.remat, keras.src.backend.core.map) == before


@pytest.mark.slow
def test_a_converted_model_is_exact_and_can_be_trained(model, samples, tmp_path):
    converted = kp.convert(model, **EXACT, include="*")
    np.testing.assert_allclose(
        converted.predict(samples, verbose=0), model.predict(samples, verbose=0), atol=1e-6
    )
    converted.compile("sgd", "mse")
    monitor = kp.callbacks.SlopeMonitor(csv_file=tmp_path / "slopes.csv", samples=samples)
    targets = np.zeros((len(samples), 3), "float32")
    converted.fit(samples, targets, verbose=0, callbacks=[monitor])
    rows = (tmp_path / "slopes.csv").read_text().splitlines()
    assert next(row for row in rows if "fori_loop" in row).endswith(",,,")
    assert not next(row for row in rows if "remat" in row).endswith(",,,")


@pytest.mark.parametrize("kind", ["cond", "switch", "fori_loop"])
def test_a_function_that_was_traced_sees_the_present_weights(kind):
    @keras.saving.register_keras_serializable("tests")
    class Branching(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = keras.layers.Dense(3, use_bias=False)

        def build(self, input_shape):
            self.inner.build(input_shape)

        def call(self, x):
            positive = keras.ops.any(x > -1e9)
            if kind == "cond":
                return keras.ops.cond(positive, lambda: self.inner(x), lambda: x)
            if kind == "switch":
                index = keras.ops.cast(positive, "int32")
                return keras.ops.switch(index, [keras.layers.ReLU(), self.inner], x)
            return keras.ops.fori_loop(0, 1, self.turn, x)

        def turn(self, index, x):
            return self.inner(x)

    layer = Branching(name="branching")
    model = keras.Sequential([keras.Input((3,)), layer])
    inputs = keras.ops.convert_to_tensor(np.eye(3, dtype="float32"))
    plan = compile_plan(model)
    for factor in (1.0, 2.0):
        layer.inner.set_weights([factor * np.eye(3, dtype="float32")])
        (outputs,) = run_plan(plan, [inputs])
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(outputs), factor * np.eye(3))


class WithMissingValues(L.Layer):
    """A layer that tells a value apart by `==`, which symbolic tensors of Keras lack."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = L.Dense(6, activation="relu")

    def call(self, x):
        return keras.ops.where(x == -1.0, 0.5, self.inner(x))


class WithZeros(WithMissingValues):
    def call(self, x):
        x = self.inner(x)
        return x + keras.ops.cast(x == 0, "float32")


def test_values_that_code_compares_are_in_the_baked_graph():
    model = keras.Sequential([keras.Input((6,)), WithMissingValues(), L.Dense(2)])
    x = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
    x[::3, 2] = -1.0
    converted = kp.convert(model, alpha=0.25, calibration_data=x)
    baked = kp.bake(converted)
    np.testing.assert_allclose(
        baked.predict(x, verbose=0), converted.predict(x, verbose=0), atol=1e-6
    )
    # The comparison is of objects again.
    one, other = keras.KerasTensor((1,)), keras.KerasTensor((1,))
    assert (one == 1.0) is False
    assert (one == other) is False


def test_a_mask_of_zeros_in_code_is_on_request():
    model = keras.Sequential([keras.Input((6,)), WithZeros(), L.Dense(2)])
    (site,) = kp.find_sites(model)
    assert site.on_request
    assert "tells zeros from other numbers" in site.reason
