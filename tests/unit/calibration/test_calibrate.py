"""keras_prelu.calibration.calibrate: the refit against numpy.linalg.lstsq, and that the function is
kept."""

import inspect

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_prelu as kp
from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.data.samples import Samples
from tests.helpers import custom, models, references

L = keras.layers


def error(model, original, x):
    """Mean squared change of the outputs over their variance."""
    before, after = (
        np.concatenate(
            [o.reshape(len(o), -1) for o in keras.tree.flatten(m.predict(x, verbose=0))], 1
        )
        for m in (original, model)
    )
    return kp.diagnostics.relative_error(after, before)


def uncalibrated(model, alpha=0.25):
    return kp.convert(model, alpha=alpha, rescale="none")


@pytest.mark.parametrize("build", [build for build in models.ALL if build is not models.leaky])
def test_the_function_comes_closer_on_unseen_samples(build):
    model = models.live_in(build())
    converted = uncalibrated(model)
    unseen = models.samples(model, 200, seed=2)
    before = error(converted, model, unseen)
    record = kp.calibrate(converted, model, models.samples(model, 400))
    after = error(converted, model, unseen)
    assert record.kept
    assert any(layer.action == "refitted" for layer in record.layers)
    assert record.error_after < record.error_before
    # These nets are narrow, random and fed with noise, where the capacity limit is near; how much
    # calibration restores in a trained net is measured in tests/integration/test_demo.py.
    assert after < {models.volumes: 0.95}.get(build, 0.7) * before


def test_a_refit_equals_lstsq():
    model = models.live_in(models.mlp())
    converted = uncalibrated(model)
    x = models.samples(model, 500)
    kp.calibrate(converted, model, x, ridge=1e-12)

    kernel, bias = (w.astype("float64") for w in model.layers[0].get_weights())
    held_out = np.zeros(500, dtype=bool)
    held_out[np.random.default_rng(0).permutation(500)[:100]] = True
    pre_activation = x.astype("float64") @ kernel + bias
    u, r = references.prelu(pre_activation, 0.25), references.prelu(pre_activation, 0.0)
    kernel, bias = (w.astype("float64") for w in model.layers[1].get_weights())
    targets = r @ kernel + bias
    design = np.concatenate([u, np.ones((500, 1))], axis=1)
    expected = np.linalg.lstsq(design[~held_out], targets[~held_out], rcond=None)[0]

    np.testing.assert_allclose(
        converted.layers[2].get_weights()[0], expected[:-1], rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(
        converted.layers[2].get_weights()[1], expected[-1], rtol=1e-3, atol=1e-4
    )


def test_a_layer_without_bias_gives_it_to_the_batch_normalization_after_it():
    inputs = keras.Input((6,))
    x = L.Dense(8, activation="relu")(inputs)
    x = L.BatchNormalization(name="norm")(L.Dense(5, use_bias=False, name="plain")(x))
    model = models.live_in(keras.Model(inputs, x))
    converted = uncalibrated(model)
    samples = models.samples(model, 400)
    kp.calibrate(converted, model, samples)
    before, after = (m.get_layer("norm").get_weights() for m in (model, converted))
    assert not np.allclose(before[2], after[2])
    for index in (0, 1, 3):
        np.testing.assert_array_equal(before[index], after[index])
    # The mean of the output is restored, which weights alone could not.
    means = [m.predict(samples, verbose=0).mean(axis=0) for m in (model, converted)]
    np.testing.assert_allclose(means[0], means[1], atol=0.05)


def test_the_record():
    model = models.live_in(models.residual())
    record = kp.calibrate(uncalibrated(model), model, models.samples(model, 100))
    assert (record.samples, record.held_out) == (100, 20)
    assert [layer.layer for layer in record.layers] == ["Conv2D"] * 5 + ["Dense"]
    assert record.layers[0].action == "kept: its input is unchanged"
    for layer in record.layers[1:]:
        assert layer.action == "refitted"
        assert layer.error_after < layer.error_before
        assert layer.unknowns == (9 if layer.layer == "Dense" else 73)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    model = models.live_in(models.convolutional())
    x = models.samples(model, 100)
    weights = []
    for seed in (3, 3, 4):
        converted = uncalibrated(model)
        kp.calibrate(converted, model, x, seed=seed, batch_size=17)
        weights.append(np.concatenate([w.ravel() for w in converted.get_weights()]))
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_a_layer_of_two_calls_is_fitted_to_both():
    model = models.live_in(models.siamese())
    converted = uncalibrated(model)
    x = models.samples(model, 300)
    record = kp.calibrate(converted, model, x)
    tower = next(
        layer
        for layer in record.layers
        if layer.path.startswith("tower/") and layer.action == "refitted"
    )
    assert tower.rows == 600
    assert error(converted, model, models.samples(model, 200, seed=5)) < 0.3 * error(
        uncalibrated(model), model, x
    )


def test_a_layer_that_feeds_itself_is_kept_with_the_reason():
    model = models.live_in(models.shared_relu())
    record = kp.calibrate(uncalibrated(model), model, models.samples(model, 100))
    actions = {layer.path: layer.action for layer in record.layers}
    assert actions["twice"] == "kept: its later calls depend on its earlier ones"


def test_frozen_layers_are_refitted_only_when_asked():
    model = models.live_in(models.mlp())
    model.layers[1].trainable = False
    x = models.samples(model, 100)
    actions = [layer.action for layer in kp.calibrate(uncalibrated(model), model, x).layers]
    assert actions[1] == "kept: it is frozen"
    actions = [
        layer.action
        for layer in kp.calibrate(uncalibrated(model), model, x, refit_frozen=True).layers
    ]
    assert actions[1] == "refitted"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ridge", [1e-9, 1e-3])
def test_never_worse_than_none(seed, ridge):
    """Few samples, more unknowns than rows, held-out samples far from the others: measured on the
    models, not read off the record."""
    model = models.live_in(models.mlp(), seed)
    converted = uncalibrated(model, alpha=0.01)
    x = models.samples(model, 10, seed)
    held_out = np.random.default_rng(seed).permutation(10)[:2]
    x[held_out] *= 3.0
    before = error(converted, model, x[held_out])
    record = kp.calibrate(converted, model, x, ridge=ridge, seed=seed)
    after = error(converted, model, x[held_out])
    np.testing.assert_allclose(
        [record.error_before, record.error_after], [before, after], rtol=1e-3, atol=1e-9
    )
    assert after <= before * (1 + 1e-5)


@given(
    widths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    normalized=st.booleans(),
    alpha=st.floats(0.01, 1.0),
    count=st.integers(5, 60),
    seed=st.integers(0, 999),
    scale=st.sampled_from([1e-3, 1.0, 100.0]),
)
@pytest.mark.filterwarnings("ignore:The calibrated model differs")
def test_never_worse_than_none_on_random_networks(widths, normalized, alpha, count, seed, scale):
    """Measured on the models; the held-out samples are those that the function's promise is
    about."""
    layers = [keras.Input((5,))]
    for width in widths:
        layers += [
            L.Dense(width, use_bias=not normalized),
            *([L.BatchNormalization()] if normalized else []),
            L.ReLU(),
        ]
    model = models.live_in(keras.Sequential([*layers, L.Dense(2)]), seed)
    converted = uncalibrated(model, alpha=alpha)
    x = scale * models.samples(model, count, seed)
    held_out = np.random.default_rng(seed).permutation(count)[: max(1, count // 5)]

    def loss():
        before, after = (
            keras.ops.convert_to_numpy(each(x[held_out])).astype("float64")
            for each in (model, converted)
        )
        return np.mean((after - before) ** 2), np.mean(before**2)

    none, size = loss()
    kp.calibrate(converted, model, x, seed=seed)
    assert loss()[0] <= none * (1 + 1e-4) + 1e-10 * size


def test_weights_come_back_where_the_result_is_worse(monkeypatch):
    from keras_prelu.calibration.ridge import RidgeProblem, Solution

    best = RidgeProblem.best
    monkeypatch.setattr(
        RidgeProblem,
        "best",
        lambda self: Solution(ridge=1.0, change=np.full_like(best(self).change, 9.0), error=0.0),
    )
    model = models.live_in(models.mlp())
    converted = uncalibrated(model)
    before = converted.get_weights()
    record = kp.calibrate(converted, model, models.samples(model, 50))
    assert not record.kept
    assert record.error_after == record.error_before
    for old, new in zip(before, converted.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "build",
    [
        models.residual,
        models.two_outputs,
        models.siamese,
        lambda: custom.around(custom.Block(name="in"), L.Dense(2)),
    ],
)
def test_what_does_not_fit_into_memory_goes_to_files_with_the_same_result(
    build, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = models.live_in(build())
    x = models.samples(model, 60)
    weights = []
    for limit in (0, 20_000, 1e9):
        converted = uncalibrated(model)
        kp.calibrate(converted, model, x, batch_size=16, memory_limit=limit)
        weights.append(converted.get_weights())
    assert list(tmp_path.iterdir()) == []
    for spilled, partly, held in zip(*weights, strict=True):
        np.testing.assert_array_equal(spilled, held)
        np.testing.assert_array_equal(partly, held)


def test_no_room_for_activations_is_one_clear_error_and_nothing_is_changed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    model = models.live_in(models.residual())
    converted = uncalibrated(model)
    before = converted.get_weights()
    with pytest.raises(kp.errors.CalibrationError, match="TMPDIR"):
        kp.calibrate(converted, model, models.samples(model, 60), memory_limit=0)
    for old, new in zip(before, converted.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_after_saving_and_loading(tmp_path):
    model = models.live_in(models.nested())
    kp.save_model(model, tmp_path / "relu.keras")
    kp.save_model(uncalibrated(model), tmp_path / "prelu.keras")
    original, converted = (
        kp.load_model(tmp_path / "relu.keras"),
        kp.load_model(tmp_path / "prelu.keras"),
    )
    record = kp.calibrate(converted, original, models.samples(model, 200))
    assert record.error_after < 0.3 * record.error_before


def test_partial_conversion_and_progress():
    model = models.live_in(models.residual())
    converted = kp.convert(model, rescale="none", exclude=keras.layers.Activation)
    steps = []
    kp.calibrate(
        converted,
        model,
        models.samples(model, 50),
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert steps[-1][0] == steps[-1][1] == len(steps)


def test_convert_calibrates():
    model = models.live_in(models.mlp())
    x = models.samples(model, 300)
    for rescale in ("auto", "calibrated"):
        converted = kp.convert(model, rescale=rescale, calibration_data=x)
        assert error(converted, model, x) < 0.2 * error(uncalibrated(model), model, x)
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(converted.layers[1].alpha), 0.25, rtol=1e-6
        )


def test_models_that_do_not_belong_together():
    with pytest.raises(kp.KerasPReLUError, match="was not made from this original"):
        kp.calibrate(
            uncalibrated(models.residual()), models.convolutional(), np.zeros((9, 12, 12, 3))
        )
    other = keras.Sequential(
        [keras.Input((6,)), L.Dense(9, activation="relu", name="first"), L.Dense(3)]
    )
    with pytest.raises(kp.KerasPReLUError, match="was not made from this original"):
        kp.calibrate(uncalibrated(models.mlp()), other, np.zeros((9, 6)))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((4, 6)), "at least 5 samples"),
        (np.zeros((9, 7)), r"shape \(9, 7\).*\('batch', 6\)"),
        (np.full((9, 6), np.nan), "^The calibration samples hold NaN"),
        (np.zeros((0, 6)), "no samples"),
        ("digits", "not an array"),
        ([np.zeros((9, 6)), np.zeros((8, 6))], "not an array|shape|different numbers of samples"),
    ],
)
def test_bad_samples(samples, message):
    model = models.mlp()
    with pytest.raises(kp.KerasPReLUError, match=message):
        kp.calibrate(uncalibrated(model), model, samples)


@pytest.mark.parametrize(
    "kwargs", [{"ridge": 0.0}, {"rows_per_unknown": 0}, {"batch_size": 0}, {"memory_limit": -1}]
)
def test_bad_options(kwargs):
    model = models.mlp()
    with pytest.raises(ValueError, match="Received"):
        kp.calibrate(uncalibrated(model), model, models.samples(model), **kwargs)


def test_a_conversion_that_is_exact_stays_exact():
    model = models.live_in(models.residual())
    x = models.samples(model, 50)
    converted = kp.convert(model, alpha=0.0, parameterization="identity", calibration_data=x)
    assert converted.predict(x, verbose=0).tobytes() == model.predict(x, verbose=0).tobytes()


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = models.live_in(models.convolutional())
    keras.config.set_dtype_policy("float32")
    record = kp.calibrate(uncalibrated(model), model, models.samples(model, 800))
    assert [layer.action for layer in record.layers[1:]] == ["refitted", "refitted"]
    assert record.error_after < record.error_before


def test_an_interrupt_leaves_the_weights_as_they_were():
    model = models.live_in(models.residual())
    converted = uncalibrated(model)
    before = converted.get_weights()

    def interrupt(done, total):
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kp.calibrate(converted, model, models.samples(model, 50), on_step=interrupt)
    for old, new in zip(before, converted.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_layers_that_are_not_refitted_are_in_the_record_too():
    model = models.live_in(models.sequence())
    actions = {
        layer.layer: layer.action
        for layer in kp.calibrate(uncalibrated(model), model, models.samples(model, 100)).layers
    }
    assert actions["LSTM"] == "kept: layers of its kind are not refitted"
    assert "Embedding" not in actions  # its input is the samples


IMAGES = np.random.default_rng(0).normal(size=(600, 8, 8, 3)).astype("float32")


def heads():
    inputs = keras.Input((8, 3))
    x = L.Dense(16, activation="relu")(inputs)
    return keras.Model(inputs, L.MultiHeadAttention(2, 4)(x, x))


def distributed():
    inputs = keras.Input((8, 3))
    x = L.TimeDistributed(L.Dense(16, activation="relu"))(inputs)
    return keras.Model(inputs, L.TimeDistributed(L.Dense(4))(x))


@pytest.mark.filterwarnings("ignore:.*does not have a `build:UserWarning")
@pytest.mark.parametrize(
    ("build", "x", "refitted", "factor"),
    [
        (lambda: custom.around(custom.Block(name="in"), L.Dense(2)), IMAGES, 3, 0.5),
        (
            lambda: custom.around(custom.Outer(name="in"), L.Dense(2), shape=(3,)),
            IMAGES[:, 0, 0],
            4,
            0.1,
        ),
        (
            lambda: custom.around(custom.Backbone(name="in"), L.Flatten(), L.Dense(3)),
            IMAGES,
            2,
            0.7,
        ),
        (distributed, IMAGES[:, 0], 1, 0.1),
        (heads, IMAGES[:, 0], 4, 0.1),
        (custom.Classifier, IMAGES, 3, 0.9),
    ],
)
def test_inside_layers_and_models_with_code_of_their_own(build, x, refitted, factor):
    model = build()
    model(x[:1])
    models.live_in(model, seed=1)
    converted = uncalibrated(model)

    def loss():
        before, after = (keras.ops.convert_to_numpy(each(x[400:])) for each in (model, converted))
        return kp.diagnostics.relative_error(after, before)

    before = loss()
    record = kp.calibrate(converted, model, x[:400])
    assert sum(layer.action == "refitted" for layer in record.layers) == refitted
    assert loss() < factor * before


def test_inside_a_layer_it_is_as_good_as_in_the_graph():
    """The same network twice: its blocks as layers with code of their own, and as a graph."""

    @keras.saving.register_keras_serializable("tests")
    class Normalized(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.conv = L.Conv2D(8, 3, padding="same", use_bias=False)
            self.norm = L.BatchNormalization()
            self.relu = L.ReLU()

        def build(self, shape):
            self.conv.build(shape)
            self.norm.build((*shape[:-1], 8))

        def call(self, inputs, training=None):
            return self.relu(self.norm(self.conv(inputs), training=training))

    def chain(x, blocks):
        for block in blocks:
            x = block(x)
        return L.Dense(3)(L.GlobalAveragePooling2D()(x))

    inputs = keras.Input((8, 8, 3))
    layered = keras.Model(inputs, chain(inputs, [Normalized() for _ in range(3)]))
    plain = [
        layer
        for _ in range(3)
        for layer in (
            L.Conv2D(8, 3, padding="same", use_bias=False),
            L.BatchNormalization(),
            L.ReLU(),
        )
    ]
    graph = keras.Model(inputs, chain(inputs, plain))
    models.live_in(layered)
    graph.set_weights(layered.get_weights())
    losses = []
    for model in (graph, layered):
        converted = uncalibrated(model)
        before = error(converted, model, IMAGES[400:])
        kp.calibrate(converted, model, IMAGES[:400])
        losses.append((before, error(converted, model, IMAGES[400:])))
    np.testing.assert_allclose(losses[0][0], losses[1][0], rtol=1e-4)
    assert losses[1][1] < 0.5 * losses[1][0]
    np.testing.assert_allclose(losses[1][1], losses[0][1], rtol=0.2)


class Batched(keras.utils.PyDataset):
    """Two batches with labels, as for `fit`."""

    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.x[index * 50 : (index + 1) * 50], np.zeros(50)


def endless(x):
    while True:
        yield x


@pytest.mark.parametrize("kind", ["PyDataset", "generator", "Dataset"])
def test_batches_give_the_same_as_their_arrays(kind):
    model = models.live_in(models.mlp())
    x = models.samples(model, 100)
    if kind == "Dataset":
        tf = pytest.importorskip("tensorflow")
        source = tf.data.Dataset.from_tensor_slices((x, np.zeros(100))).batch(30)
    else:
        source = (
            Batched(x)
            if kind == "PyDataset"
            else (x[start : start + 40] for start in range(0, 100, 40))
        )
    calibrated = []
    for samples in (x, source):
        converted = uncalibrated(model)
        assert kp.calibrate(converted, model, samples).samples == 100
        calibrated.append(converted.get_weights())
    for one, other in zip(*calibrated, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_source_without_an_end_gives_as_many_as_do():
    model = models.live_in(models.mlp())
    record = kp.calibrate(uncalibrated(model), model, endless(models.samples(model, 1000)))
    assert record.samples == 4096
    with pytest.raises(kp.KerasPReLUError, match="source of batches is empty"):
        kp.calibrate(uncalibrated(model), model, iter(()))


@pytest.mark.filterwarnings("ignore:.*does not have a `build:UserWarning")
def test_an_original_whose_class_names_its_layers_anew():
    """Unnamed layers are called differently each time a class builds a model: they are matched in
    their order."""

    class Body(keras.Model):
        def __init__(self, name=None):
            inputs = keras.Input((6,))
            x = L.ReLU()(L.Dense(8)(inputs))
            super().__init__(inputs, L.Dense(3)(L.Dense(8, activation="relu")(x)), name=name)

        def get_config(self):
            return {"name": self.name}

    first = models.live_in(Body("body"))
    with pytest.warns(kp.errors.KerasPReLUWarning, match="plain functional"):
        converted = uncalibrated(first)
    second = Body("body")
    second.set_weights(first.get_weights())
    assert second.layers[1].name != first.layers[1].name
    record = kp.calibrate(converted, second, models.samples(first, 300))
    assert record.error_after < 0.3 * record.error_before


def test_the_defaults_are_those_of_the_documentation():
    assert CalibrationConfig() == CalibrationConfig(
        ridge=None,
        rows_per_unknown=16,
        refit_frozen=False,
        batch_size=None,
        memory_limit=4e9,
        seed=0,
    )
    for function in (kp.calibrate, kp.find_slopes, kp.run_conversion):
        for name, parameter in inspect.signature(function).parameters.items():
            if hasattr(CalibrationConfig, name):
                assert parameter.default == getattr(CalibrationConfig, name)


def test_one_row_for_each_unknown_and_one_sample_at_once_do():
    model = models.live_in(models.mlp())
    record = kp.calibrate(
        uncalibrated(model), model, models.samples(model, 100), rows_per_unknown=1, batch_size=1
    )
    assert record.error_after < record.error_before


def test_samples_with_labels_give_the_same_as_without():
    model = models.live_in(models.mlp())
    x = models.samples(model, 60)
    calibrated = []
    for samples in (x, Samples(x, np.zeros(60))):
        converted = uncalibrated(model)
        kp.calibrate(converted, model, samples)
        calibrated.append(converted.get_weights())
    for one, other in zip(*calibrated, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:.*does not have a `build:UserWarning")
def test_samples_with_labels_for_a_model_written_in_python():
    model = custom.Classifier()
    model(IMAGES[:1])
    models.live_in(model, seed=1)
    record = kp.calibrate(uncalibrated(model), model, Samples(IMAGES[:100], np.zeros(100)))
    assert record.samples == 100
