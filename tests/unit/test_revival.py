"""keras_prelu.revival: dead units get fresh weights, and the function is kept."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.revival import find_dead_units
from tests.helpers import channel_chains as chains
from tests.helpers import models

L = keras.layers


def to_float64(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor), dtype="float64")


def kill(layer, units):
    """Make units of a layer, or of the BatchNormalization after it, negative on every sample."""
    variable = layer.beta if isinstance(layer, L.BatchNormalization) else layer.bias
    values = to_float64(variable)
    values[list(units)] = -100.0
    variable.assign(values)


def dense():
    layers = [
        L.Dense(12, "relu", name="first"),
        L.Dropout(0.5),
        L.Dense(10, name="second"),
        L.ReLU(name="act"),
        L.Dense(3),
    ]
    return models.live_in(keras.Sequential([keras.Input((6,)), *layers]))


def convolutions():
    layers = [
        L.Conv2D(8, 3, use_bias=False, name="conv"),
        L.BatchNormalization(name="norm"),
        L.ReLU(max_value=6.0, name="act"),
        L.MaxPooling2D(),
        L.Conv2D(5, 2, activation="relu", name="second"),
        L.Flatten(),
        L.Dense(3),
    ]
    return models.live_in(keras.Sequential([keras.Input((8, 8, 3)), *layers]))


@pytest.mark.parametrize("build", [dense, convolutions])
def test_exactly_the_dead_units_are_revived_and_the_function_is_kept(build):
    model = build()
    first, second = (
        (model.get_layer("norm"), model.get_layer("second"))
        if build is convolutions
        else model.layers[:3:2]
    )
    kill(first, [1, 4, 5])
    kill(second, [0])
    x = models.samples(model, 200)
    before = model.predict(x, verbose=0)
    kernels = {
        layer.name: to_float64(layer.kernel)
        for layer in model.layers
        if linear_view(layer) is not None
    }
    record = kp.revive(model, x, threshold=0.0)
    assert [(site.dead_before, site.revived, site.dead_after) for site in record.sites] == [
        (3, 3, 0),
        (1, 1, 0),
    ]
    assert record.revived == 4
    np.testing.assert_allclose(
        model.predict(x, verbose=0), before, rtol=0, atol=1e-5 * np.abs(before).max()
    )
    assert record.loss < 1e-9
    assert sum(units.dead for units in kp.diagnostics.dead_units(model, x)) == 0
    # No other unit's incoming weights were touched, and no weights but the dead units' outgoing
    # ones.
    producer = "conv" if build is convolutions else "first"
    alive = [unit for unit in range(kernels[producer].shape[-1]) if unit not in (1, 4, 5)]
    after = to_float64(model.get_layer(producer).kernel)
    np.testing.assert_array_equal(after[..., alive], kernels[producer][..., alive])
    assert not np.allclose(after[..., [1, 4, 5]], kernels[producer][..., [1, 4, 5]])
    reads = to_float64(model.get_layer("second").kernel)
    np.testing.assert_array_equal(reads[..., [1, 4, 5], :], 0.0)
    np.testing.assert_array_equal(
        reads[..., alive, :][..., 1:], kernels["second"][..., alive, :][..., 1:]
    )


def test_fresh_weights_have_the_variance_of_claim_4_and_centred_pre_activations():
    model = models.live_in(
        keras.Sequential(
            [keras.Input((50,)), L.Dense(200, name="first"), kp.PReLU(0.5), L.Dense(1)]
        )
    )
    model.layers[0].bias.assign(np.full(200, -1000.0))
    x = models.samples(model, 300) + 2.0
    kp.revive(model, x, threshold=0.0)
    kernel = to_float64(model.layers[0].kernel)
    slope = to_float64(model.layers[1].alpha).mean()
    np.testing.assert_allclose(kernel.var(), 2 / (50 * (1 + slope**2)), rtol=0.05)
    pre_activation = x @ kernel + to_float64(model.layers[0].bias)
    np.testing.assert_allclose(pre_activation.mean(axis=0), 0.0, atol=1e-4)


def test_statistics_of_a_normalization_are_those_of_the_samples():
    model = convolutions()
    kill(model.get_layer("norm"), range(8))
    x = models.samples(model, 100)
    kp.revive(model, x)
    norm = model.get_layer("norm")
    outputs = to_float64(model.get_layer("conv")(x))
    np.testing.assert_allclose(
        to_float64(norm.moving_mean), outputs.mean(axis=(0, 1, 2)), atol=1e-5
    )
    np.testing.assert_allclose(
        to_float64(norm.moving_variance), outputs.var(axis=(0, 1, 2)), rtol=1e-4
    )
    np.testing.assert_array_equal(to_float64(norm.gamma), 1.0)
    np.testing.assert_array_equal(to_float64(norm.beta), 0.0)


def test_units_active_on_few_samples_count_up_to_the_threshold():
    model = dense()
    x = models.samples(model, 200)
    pre_activation = x @ to_float64(model.layers[0].kernel)[:, 2]
    bias = to_float64(model.layers[0].bias)
    bias[2] = -np.sort(pre_activation)[-4]  # positive on three samples
    model.layers[0].bias.assign(bias)
    assert kp.revive(model, x, threshold=0.01).revived == 0
    record = kp.revive(model, x, threshold=0.015)
    assert record.revived == 1
    assert 0 < record.loss < 0.05


def test_a_revived_network_is_converted_and_calibrated_with_its_units_alive():
    model = dense()
    kill(model.layers[0], [1, 4, 5])
    x = models.samples(model, 400)
    before = model.predict(x, verbose=0)
    kp.revive(model, x, threshold=0.0)
    converted = kp.convert(model, calibration_data=x)
    assert kp.diagnostics.relative_error(converted.predict(x, verbose=0), before) < 0.05
    assert kp.diagnostics.dead_units(converted, x)[0].dead == 0


def test_reviving_a_dead_prelu_unit_reports_the_lost_function():
    model = dense()
    kill(model.layers[0], [1, 4, 5])
    x = models.samples(model, 400)
    converted = kp.convert(model, calibration_data=x)
    before = converted.predict(x, verbose=0)
    record = kp.revive(converted, x, threshold=0.0)
    assert record.sites[0].revived == 3
    change = kp.diagnostics.relative_error(converted.predict(x, verbose=0), before)
    assert record.loss == pytest.approx(change, rel=1e-3)
    assert record.loss > 0


def test_training_uses_revived_units():
    model = dense()
    kill(model.layers[0], range(6))
    x = models.samples(model, 200)
    kp.revive(model, x)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = to_float64(model.layers[0].kernel)
    model.fit(x, np.ones((200, 3), "float32"), epochs=3, verbose=0)
    assert (np.abs(to_float64(model.layers[0].kernel) - before).max(axis=0) > 0)[:6].all()


def test_the_same_seed_gives_the_same_weights():
    found = []
    for seed in (1, 1, 2):
        model = dense()
        kill(model.layers[0], [0])
        kp.revive(model, models.samples(model, 50), seed=seed)
        found.append(to_float64(model.layers[0].kernel))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_units_that_can_not_be_revived_are_kept_with_the_reason():
    inputs = keras.Input((6,))
    x = L.Dense(8, activation="relu", name="branch")(inputs)
    x = L.Add(name="sum")([x, L.Dense(8, activation="relu", name="other", use_bias=False)(inputs)])
    model = models.live_in(keras.Model(inputs, L.Dense(8, "relu", name="last")(x)))
    kill(model.get_layer("branch"), [2])
    kill(model.get_layer("last"), [3])
    before = model.get_weights()
    record = kp.revive(model, models.samples(model, 50))
    sites = {site.path: site for site in record.sites}
    assert record.note.startswith("Nothing was revived: 2 dead units were kept, most at 'branch' (")
    assert (
        sites["branch"].action
        == "kept: 'sum' (Add) reads its units, which has no weights for them alone"
    )
    assert sites["last"].action == "kept: its units are an output of the model"
    assert (sites["last"].dead_before, sites["last"].dead_after, sites["last"].revived) == (1, 1, 0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("build", models.ALL)
def test_every_kind_of_model_is_accepted(build):
    model = models.live_in(build())
    record = kp.revive(model, models.samples(model, 30), threshold=0.0)
    assert record.loss < 1e-6
    assert all(
        site.action in ("none dead", "revived") or site.action.startswith("kept: ")
        for site in record.sites
    )


@pytest.mark.parametrize("threshold", [-0.1, 1.0])
def test_a_threshold_outside_of_0_to_1_is_refused(threshold):
    with pytest.raises(kp.errors.InvalidArgumentError, match="threshold"):
        kp.revive(dense(), np.zeros((5, 6), "float32"), threshold=threshold)


LEAKING = ("prelu", "leaky", "gelu")


def check_random_network(seed):
    """Revive ReLU units that are active on no sample; return how many were revived."""
    keras.utils.set_random_seed(seed)
    model = chains.random_network(seed)
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.path.rsplit("/", 1)[-1] in ("bias", "beta") and len(variable.shape) == 1:
            values = to_float64(keras.ops.cast(variable, "float32"))
            variable.assign(np.where(rng.random(values.shape) < 0.3, -1e3, values))
    x = rng.normal(size=(40, chains.POSITIONS, chains.CHANNELS)).astype("float32")

    def outputs():
        parts = [keras.ops.cast(part, "float32") for part in keras.tree.flatten(model(x))]
        return np.concatenate([to_float64(part).reshape(len(x), -1) for part in parts], axis=1)

    before = outputs()
    if not np.isfinite(before).all() or any(kind in model.name for kind in LEAKING):
        return 0
    record = kp.revive(model, x, threshold=0.0)
    tolerance = 1e-2 if "float16" in model.name else 1e-5
    np.testing.assert_allclose(
        outputs(), before, rtol=0, atol=tolerance * np.abs(before).max(), err_msg=model.name
    )
    return record.revived


@chains.may_drop_masks
def test_random_networks_of_relus_keep_their_function():
    assert sum(map(check_random_network, range(15))) > 10


@pytest.mark.slow
@chains.may_drop_masks
@pytest.mark.parametrize("seed", range(15, 60))
def test_many_random_networks_of_relus_keep_their_function(seed):
    check_random_network(seed)


def frozen(layer):
    layer.trainable = False
    return layer


def between(producer, reader, *following):
    """A network of two layers with a ReLU between them, in which unit 1 is dead."""
    inputs = keras.Input((4, 4))
    x = L.ReLU(name="act")(producer(inputs))
    for layer in (*following, reader):
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (
            lambda: between(frozen(L.Dense(4, name="one")), L.Dense(3)),
            "'one' is frozen, so that fresh weights would not learn",
        ),
        (
            lambda: between(L.Dense(4, name="one"), frozen(L.Dense(3, name="two"))),
            "'two' is frozen, so that fresh weights would not learn",
        ),
        (
            lambda: between(L.Dense(4, name="one"), L.Dense(4, kernel_constraint="unit_norm")),
            "would be violated",
        ),
        (
            lambda: between(chains.NormalizedDense(4, name="one"), L.Dense(3)),
            "'one' (NormalizedDense) is no linear layer that makes its units",
        ),
        (
            lambda: between(L.Dense(4, name="one"), L.Dense(3), chains.Dropout(name="own")),
            "'own' (Dropout) reads its units, which has no weights for them alone",
        ),
        (
            lambda: between(
                L.Dense(4, name="one"),
                L.Dense(3),
                L.AveragePooling1D(2, 1, "same", data_format="channels_first", name="pool"),
            ),
            "'pool' (AveragePooling1D) reads its units, which has no weights for them alone",
        ),
    ],
)
def test_layers_that_have_to_stay_are_named(build, reason):
    model = models.live_in(build())
    x = models.samples(model, 50)
    first = model.layers[1]
    kill(first, [1])
    for variable in model.weights:
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
    weights = model.get_weights()
    (found,) = find_dead_units(model, x)
    record = kp.revive(model, x)
    (site,) = record.sites
    assert (found.dead, found.revivable, f"kept: {found.reason}") == (1, 0, site.action)
    assert record.note == f"Nothing was revived: 1 dead unit was kept at 'act' ({found.reason})."
    assert site.action.startswith("kept: ")
    assert site.action.endswith(reason)
    assert (site.revived, site.dead_before, site.dead_after) == (0, 1, 1)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_reader_that_also_reads_something_else_is_not_silenced():
    inputs = keras.Input((6,))
    x = L.Dense(6, name="one")(inputs)
    reader = L.Dense(3, name="reader")
    model = models.live_in(keras.Model(inputs, L.Add()([reader(L.ReLU()(x)), reader(inputs)])))
    kill(model.get_layer("one"), [1])
    x = models.samples(model, 50)
    before = model.predict(x, verbose=0)
    (site,) = kp.revive(model, x).sites
    assert site.action == "kept: 'reader' is called at several places"
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="no channels-first convolutions on the CPU"
)
def test_a_channels_first_tensor_that_is_flattened_is_kept():
    inputs = keras.Input((3, 6, 6))
    x = L.ReLU()(L.Conv2D(4, 3, data_format="channels_first", name="conv")(inputs))
    model = models.live_in(keras.Model(inputs, L.Dense(3)(L.Flatten()(x))))
    kill(model.get_layer("conv"), [1, 2])
    x = models.samples(model, 20)
    before = model.predict(x, verbose=0)
    kp.revive(model, x)
    np.testing.assert_allclose(model.predict(x, verbose=0), before, rtol=1e-5, atol=1e-5)


def test_fresh_weights_satisfy_the_constraint_of_their_layer():
    layers = [
        L.Dense(8, "relu", kernel_constraint="non_neg", name="one"),
        L.Dense(3, kernel_constraint="non_neg"),
    ]
    model = models.live_in(keras.Sequential([keras.Input((6,)), *layers]))
    for layer in layers:
        layer.kernel.assign(np.abs(to_float64(layer.kernel)))
    kill(layers[0], [1, 4])
    x = models.samples(model, 100)
    before = model.predict(x, verbose=0)
    (site,) = kp.revive(model, x, threshold=0.0).sites
    assert (site.action, site.revived, site.dead_after) == ("revived", 2, 0)
    assert all((to_float64(layer.kernel) >= 0).all() for layer in layers)
    np.testing.assert_allclose(model.predict(x, verbose=0), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("regularized", ["second", "act", "between", "first"])
def test_units_whose_activity_is_regularized_are_kept(regularized):
    penalty = {"activity_regularizer": keras.regularizers.L2(0.1)}

    def settings(name):
        return {"name": name, **(penalty if name == regularized else {})}

    between = [L.Dropout(0.5, **settings("between"))]
    layers = [
        L.Dense(12, "relu", **settings("first")),
        L.Dense(10, **settings("second")),
        L.ReLU(**settings("act")),
        *between,
        L.Dense(3),
    ]
    model = models.live_in(keras.Sequential([keras.Input((6,)), *layers]))
    kill(model.get_layer("first"), [1])
    kill(model.get_layer("second"), [0, 3])
    x = models.samples(model, 200)

    def penalties():
        return float(keras.ops.convert_to_numpy(sum((model(x), model.losses)[1])))

    before, outputs = penalties(), model.predict(x, verbose=0)
    first, second = kp.revive(model, x, threshold=0.0).sites
    kept, revived = (first, second) if regularized == "first" else (second, first)
    assert (
        kept.action == f"kept: the activity regularizer of '{regularized}' would add another loss"
    )
    assert revived.revived == revived.dead_before > 0
    assert kept.revived == 0
    assert before > 0
    assert penalties() == pytest.approx(before, rel=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0), outputs, rtol=1e-4, atol=1e-5)
