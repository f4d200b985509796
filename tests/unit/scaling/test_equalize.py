"""keras_prelu.scaling.equalize: channels alike in size, the function unchanged, and what that is
good for."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.scaling.channel_groups import ChannelGroup
from tests.helpers import channel_chains as chains
from tests.helpers import models

L = keras.layers


def badly_scaled(model, seed=0):
    """Channels of very different size, as training with BatchNormalization or weight decay leaves
    them."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, (L.Conv2D, L.Dense)) and hasattr(layer.kernel, "assign"):
            layer.kernel.assign(
                keras.ops.convert_to_numpy(layer.kernel)
                * 10.0 ** rng.uniform(-1.5, 1.5, layer.kernel.shape[-1])
            )
    return model


def converted(build):
    return kp.convert(badly_scaled(models.live_in(build())), rescale="none")


def equalize_in_place(model):
    """Equalize a model whose outputs have to stay the same, and return the records."""
    x = models.samples(model, 16)
    before = models.outputs(model, x)
    records = kp.equalize(model)
    np.testing.assert_allclose(
        models.outputs(model, x), before, rtol=0, atol=1e-5 * np.abs(before).max()
    )
    return records


def equalized(records):
    return [record for record in records if record.action == "equalized"]


def mobile():
    inputs = keras.Input((8, 8, 3))
    x = L.ReLU(name="a")(
        L.BatchNormalization(name="bn")(L.Conv2D(8, 3, padding="same", use_bias=False)(inputs))
    )
    x = L.ReLU(name="b")(L.DepthwiseConv2D(3, padding="same")(L.MaxPooling2D()(x)))
    return keras.Model(
        inputs, L.Dense(3)(L.GlobalAveragePooling2D()(L.Conv2D(6, 1, activation="relu")(x)))
    )


@pytest.mark.parametrize(
    "build",
    [models.mlp, models.residual, models.pre_activation, models.two_outputs, models.nested, mobile],
)
def test_the_function_is_unchanged_and_channels_are_alike(build):
    model = converted(build)
    done = equalized(equalize_in_place(model))
    assert done
    worst = max(record.spread_before for record in done)
    assert worst > 10
    assert max(record.spread_after for record in done) < 0.7 * worst


def test_two_layers_against_the_closed_form():
    """s_c = √(‖consumer_c‖/‖producer_c‖): afterwards both have √(‖consumer_c‖·‖producer_c‖)."""
    model = kp.convert(badly_scaled(models.live_in(models.mlp())), rescale="none", include="first")
    first, second = model.layers[0], model.layers[2]
    made, used = (
        np.abs(first.get_weights()[0]).max(axis=0),
        np.abs(second.get_weights()[0]).max(axis=1),
    )
    kp.equalize(model, passes=1)
    middle = np.sqrt(made * used)
    np.testing.assert_allclose(np.abs(first.get_weights()[0]).max(axis=0), middle, rtol=1e-4)
    record = kp.equalize(model)[0]
    assert (record.producers, record.consumers, record.channels) == (("first",), (second.name,), 8)


def test_groups_without_the_symmetry_are_kept_with_the_reason():
    capped = {record.action for record in kp.equalize(converted(models.capped))}
    assert any("has a cap" in action for action in capped)
    shared = {record.action for record in kp.equalize(converted(models.shared_relu))}
    assert any("'twice' is called at several places" in action for action in shared)
    flat = {record.action for record in kp.equalize(converted(models.convolutional))}
    assert any(
        "'flatten" in action and "no weights that scale its input" in action for action in flat
    )
    (*_, last) = kp.equalize(converted(models.mlp))
    assert last.action == "kept: it is an input or output of the model"
    with pytest.raises(ValueError, match="passes"):
        kp.equalize(converted(models.mlp), passes=0)


def quantized(model):
    """Each kernel rounded to 8 bits with one scale for the whole tensor, as per-tensor int8
    does."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        if hasattr(layer, "kernel"):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            step = np.abs(kernel).max() / 127
            layer.kernel.assign(np.round(kernel / step) * step)
    return copy


def test_per_tensor_rounding_loses_less():
    model = converted(models.mlp)
    x = models.samples(model, 200)
    expected = models.outputs(model, x)
    before = np.mean((models.outputs(quantized(model), x) - expected) ** 2)
    kp.equalize(model)
    after = np.mean((models.outputs(quantized(model), x) - expected) ** 2)
    assert after < 0.1 * before


def test_dead_channels_are_not_scaled():
    model = converted(models.mlp)
    kernel = model.layers[0].get_weights()[0]
    kernel[:, 2] = 0.0
    model.layers[0].kernel.assign(kernel)
    equalize_in_place(model)


def outputs_and_losses(model, x):
    keras.utils.set_random_seed(1)
    outputs = [
        keras.ops.convert_to_numpy(keras.ops.cast(part, "float32")).reshape(len(x), -1)
        for part in keras.tree.flatten(model(x))
    ]
    losses = [float(keras.ops.convert_to_numpy(loss)) for loss in model.losses]
    return np.concatenate(outputs, axis=1), losses


def check_random_network(seed):
    keras.utils.set_random_seed(seed)
    model = chains.random_network(seed)
    shape = (16, chains.POSITIONS, chains.CHANNELS)
    x = np.random.default_rng(seed).normal(size=shape).astype("float32")
    before, losses = outputs_and_losses(model, x)
    if not np.isfinite(before).all():
        return 0
    records = kp.equalize(model)
    after, losses_after = outputs_and_losses(model, x)
    tolerance = 1e-2 if "float16" in model.name else 2e-5
    np.testing.assert_allclose(
        after, before, rtol=0, atol=tolerance * np.abs(before).max(), err_msg=model.name
    )
    np.testing.assert_allclose(losses_after, losses, rtol=1e-3, err_msg=model.name)
    done = equalized(records)
    if done:
        largest = max(record.spread_before for record in done)
        assert max(record.spread_after for record in done) <= largest * 1.001
    return len(done)


@chains.may_drop_masks
def test_random_networks_keep_their_function_and_penalties():
    assert sum(map(check_random_network, range(20))) > 20


@pytest.mark.slow
@chains.may_drop_masks
@pytest.mark.parametrize("seed", range(20, 100))
def test_many_random_networks_keep_their_function_and_penalties(seed):
    check_random_network(seed)


# What may stand between two Dense layers: whether their scales may move across it.
BETWEEN = dict.fromkeys(
    [
        "relu",
        "leaky relu",
        "prelu",
        "stock prelu",
        "relu activation",
        "linear activation",
        "plain relu",
        "plus itself",
        "dropout",
        "identity",
        "pooling",
    ],
    True,
) | dict.fromkeys(
    [
        "capped relu",
        "relu with a threshold",
        "bent prelu",
        "tanh activation",
        "shifted relu",
        "relu with a replaced call",
        "plus 1",
        "plus an array",
        "a number plus",
        "minus",
        "times an array",
        "times itself",
        "named dropout",
        "pooling of channels",
        "average pooling of channels",
        "permute",
        "softmax",
        "masked",
        "regularized",
        "clip",
        "maximum",
        "float16",
    ],
    False,
)


@pytest.mark.parametrize("operation", BETWEEN)
def test_what_keeps_the_scale_of_a_channel(operation):
    inputs = keras.Input((chains.POSITIONS, chains.CHANNELS))
    x = chains.OPERATIONS[operation](L.Dense(chains.CHANNELS, name="first")(inputs))
    model = badly_scaled(models.live_in(keras.Model(inputs, L.Dense(3, name="last")(x))))
    done = equalized(equalize_in_place(model))
    assert bool(done) == BETWEEN[operation]


@pytest.mark.parametrize("kind", chains.LINEAR)
def test_layers_that_write_or_read_channels(kind):
    """Each kind of layer before and after a ReLU, on square tensors, where axes can be confused."""
    inputs = keras.Input((chains.POSITIONS, chains.CHANNELS))
    x = L.ReLU()(chains.LINEAR[kind]()(inputs))
    x = L.ReLU()(chains.LINEAR[kind]()(L.Dense(chains.CHANNELS)(x)))
    model = badly_scaled(models.live_in(keras.Model(inputs, L.Dense(3)(x))))
    records = equalize_in_place(model)
    assert all(
        record.action == "equalized" or record.action.startswith("kept: ") for record in records
    )


@pytest.mark.parametrize(("build", "reason"), chains.NOT_SCALED)
def test_what_has_to_stay_is_kept_with_the_reason(build, reason):
    inputs = keras.Input((4, 4))
    model = models.live_in(keras.Model(inputs, L.Dense(3)(build(inputs))))
    weights = model.get_weights()
    records = kp.equalize(model)
    assert any(record.action.endswith(reason) for record in records)
    assert not any(record.action == "equalized" for record in records)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_channels_read_by_zeros_are_left_as_they_are_and_no_spread_grows():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        inputs = keras.Input((6,))
        first, last = L.Dense(8), L.Dense(3)
        model = badly_scaled(models.live_in(keras.Model(inputs, last(L.ReLU()(first(inputs))))))
        dead = rng.random(8) < 0.4
        kernel = last.get_weights()[0]
        kernel[dead] = 0.0
        last.kernel.assign(kernel)
        before = first.get_weights()[0]
        (record, _) = kp.equalize(model)
        np.testing.assert_array_equal(first.get_weights()[0][:, dead], before[:, dead])
        assert record.spread_after <= record.spread_before * 1.001


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
def test_low_precision_is_scaled_without_rounding(policy):
    model = keras.Sequential(
        [keras.Input((6,)), L.Dense(8, "relu"), L.Dense(8, "relu"), L.Dense(3)], name="low"
    )
    low = keras.models.clone_model(
        model,
        clone_function=lambda layer: type(layer).from_config(
            {**layer.get_config(), "dtype": policy}
        ),
    )
    badly_scaled(models.live_in(low))
    x = models.samples(model, 16)
    before = keras.ops.convert_to_numpy(keras.ops.cast(low(x), "float32"))
    assert any(record.action == "equalized" for record in kp.equalize(low))
    after = keras.ops.convert_to_numpy(keras.ops.cast(low(x), "float32"))
    np.testing.assert_array_equal(after, before)


def test_an_interrupt_leaves_the_model_as_it_was(monkeypatch):
    model = converted(models.residual)
    weights = model.get_weights()
    calls = []

    def interrupted(self, scales):
        calls.append(scales)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(self, scales)

    original = ChannelGroup.scale
    monkeypatch.setattr(ChannelGroup, "scale", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kp.equalize(model)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
