"""keras_prelu.training.controls: what else a gain might come from."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.training.controls import CONTROLS, control_model
from tests.helpers import custom, models

L = keras.layers


def wide():
    """Kernels of every form, wide enough to measure their spread."""
    inputs = keras.Input((8, 8, 32))
    x = L.BatchNormalization()(L.Conv2D(64, 3, padding="same")(inputs))
    x = L.DepthwiseConv2D(3, depth_multiplier=8, padding="same")(L.ReLU()(x))
    x = L.SeparableConv2D(64, 3, depth_multiplier=2, padding="same")(L.ReLU()(x))
    x = L.Conv2D(64, 3, groups=4, padding="same", activation="relu")(x)
    x = L.Conv1D(64, 3, kernel_initializer="zeros")(L.Reshape((64, 64))(x))
    return keras.Model(inputs, L.LSTM(16)(L.LayerNormalization()(x)))


def arrays(model):
    return [keras.ops.convert_to_numpy(variable) for variable in model.variables]


def test_weights_from_scratch_have_the_variance_of_claim_4():
    prelu = kp.convert(models.live_in(wide()), alpha=0.5, rescale="none")
    before = arrays(prelu)
    fresh = control_model("from-scratch", prelu, 0)
    gain = 2.0 / (1.0 + 0.5**2)
    first, depthwise = (
        next(layer for layer in fresh.layers if type(layer) is kind)
        for kind in (L.Conv2D, L.DepthwiseConv2D)
    )
    separable = next(layer for layer in fresh.layers if isinstance(layer, L.SeparableConv2D))
    kernels = (
        (first.kernel, 288),
        (depthwise.kernel, 9),
        (separable.pointwise_kernel, 1024),
        (separable.depthwise_kernel, 9),
    )
    for kernel, fan_in in kernels:
        assert np.var(keras.ops.convert_to_numpy(kernel)) == pytest.approx(gain / fan_in, rel=0.15)
    layers = {type(layer).__name__: layer for layer in fresh.layers}
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layers["Conv1D"].kernel), 0.0)
    for name, values in (
        ("gamma", 1.0),
        ("beta", 0.0),
        ("moving_mean", 0.0),
        ("moving_variance", 1.0),
    ):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(getattr(layers["BatchNormalization"], name)), values
        )
    recurrent = keras.ops.convert_to_numpy(layers["LSTM"].cell.recurrent_kernel)
    np.testing.assert_allclose(
        recurrent @ recurrent.T, np.eye(16), atol=1e-5
    )  # orthogonal, by its own initializer
    assert all(layer.mean == pytest.approx(0.5) for layer in kp.diagnostics.layer_slopes(fresh))
    for one, other in zip(arrays(prelu), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_fresh_weights_are_of_the_seed_alone():
    prelu = kp.convert(models.residual(), rescale="none")
    first, again, other = (control_model("from-scratch", prelu, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(arrays(first), arrays(again), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(arrays(first), arrays(other), strict=True))


def test_layers_inside_custom_ones_are_redrawn_and_what_can_not_be_is_told():
    inputs = keras.Input((6, 6, 3))
    prelu = kp.convert(models.live_in(keras.Model(inputs, custom.Block(4)(inputs))), rescale="none")
    fresh = control_model("from-scratch", prelu, 0)
    kernels = [[v for v in model.variables if "kernel" in v.path] for model in (fresh, prelu)]
    assert len(kernels[0]) == 3
    assert not any(
        np.array_equal(*map(keras.ops.convert_to_numpy, pair))
        for pair in zip(*kernels, strict=True)
    )

    inputs = keras.Input((4,))
    prelu = kp.convert(
        keras.Model(inputs, L.ReLU()(custom.Scaled()(inputs))), rescale="none", include="*"
    )
    with pytest.raises(kp.errors.InvalidArgumentError, match=r"can't redraw '.*scale'"):
        control_model("from-scratch", prelu, 0)


def test_further_controls_are_trained_with_the_same_budget(original, digits):
    result = kp.finetune(
        original,
        *digits,
        recipe="exp",
        epochs=3,
        batch_size=16,
        learning_rate=0.02,
        controls=["fixed-slopes", "from-scratch"],
    )
    fixed, scratch = result.controls
    assert (fixed.name, scratch.name) == tuple(CONTROLS)
    assert [layer.mean for layer in kp.diagnostics.layer_slopes(fixed.trained.model)] == [
        layer.mean for layer in result.slopes_before
    ]
    assert fixed.trained.score_before == result.prelu.score_before
    assert (
        kp.diagnostics.layer_slopes(scratch.trained.model)[0].mean != result.slopes_before[0].mean
    )
    assert scratch.trained.score_after > scratch.trained.score_before + 0.2
    assert fixed.comparison.a == scratch.comparison.a == result.prelu.score_after
    assert (fixed.comparison.b, scratch.comparison.b) == (
        fixed.trained.score_after,
        scratch.trained.score_after,
    )
    for text in CONTROLS.values():
        assert text in result.verdict


def test_a_relu_model_has_no_slopes_to_fix_and_unknown_names_are_refused(original, digits):
    result = kp.finetune(original, *digits, recipe="relu", epochs=1, controls="fixed-slopes")
    assert result.controls == ()
    with pytest.raises(
        kp.errors.InvalidArgumentError, match="must be among 'fixed-slopes', 'from-scratch'"
    ):
        kp.finetune(original, *digits, recipe="relu", controls=["leaky"])
