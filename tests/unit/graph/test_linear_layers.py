"""keras_prelu.graph.linear_layers: design rows times the kernel matrix equal the layer's real
output, for every kind and option."""

import keras
import numpy as np
import pytest

from keras_prelu.graph.linear_layers import linear_view
from tests.helpers.versions import older

L = keras.layers
ON_CPU_OF_TENSORFLOW = keras.backend.backend() == "tensorflow"

CASES = {
    "dense": (L.Dense(4), (5,)),
    "dense on a sequence": (L.Dense(4, use_bias=False), (7, 5)),
    "einsum": (L.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d"), (7, 5)),
    "einsum elided": (L.EinsumDense("...c,cd->...d", 4, bias_axes="d"), (7, 3, 5)),
    "einsum of heads": (L.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"), (7, 5)),
    "einsum out of heads": (L.EinsumDense("abcd,cde->abe", (None, 4), bias_axes="e"), (7, 2, 3)),
    "einsum of groups": (L.EinsumDense("abg,gd->adbg", (4, None, 5), bias_axes="dg"), (7, 5)),
    "einsum without bias": (L.EinsumDense("abc,cd->abd", (None, 4)), (7, 5)),
    "conv1d": (L.Conv1D(4, 3), (9, 5)),
    "conv1d causal dilated": (L.Conv1D(4, 3, padding="causal", dilation_rate=2), (9, 5)),
    "conv1d causal strided": (L.Conv1D(4, 3, padding="causal", strides=2), (9, 5)),
    "conv2d": (L.Conv2D(4, (3, 2)), (7, 8, 5)),
    "conv2d same": (L.Conv2D(4, 3, padding="same"), (7, 8, 5)),
    "conv2d same strided": (L.Conv2D(4, 3, padding="same", strides=2), (7, 8, 5)),
    "conv2d same, even kernel": (L.Conv2D(4, 4, padding="same", strides=(2, 3)), (7, 8, 5)),
    "conv2d dilated": (L.Conv2D(4, 3, padding="same", dilation_rate=2), (7, 8, 5)),
    "conv2d grouped": (L.Conv2D(6, 3, groups=3), (7, 8, 9)),
    "conv2d pointwise strided": (L.Conv2D(6, 1, strides=2), (7, 8, 9)),
    "conv3d": (L.Conv3D(3, 2, padding="same", strides=2), (5, 6, 4, 2)),
    "depthwise": (L.DepthwiseConv2D(3, padding="same", depth_multiplier=2), (7, 8, 3)),
    "depthwise strided": (L.DepthwiseConv2D(3, strides=2), (7, 8, 3)),
    "depthwise 1d": (L.DepthwiseConv1D(3, padding="same"), (7, 3)),
    "separable": (L.SeparableConv2D(4, 3, padding="same", depth_multiplier=2), (7, 8, 3)),
    "separable 1d": (L.SeparableConv1D(4, 3), (7, 3)),
    "transposed": (L.Conv2DTranspose(4, 3, strides=2, padding="same"), (5, 6, 3)),
    "transposed valid": (L.Conv2DTranspose(4, 3, strides=2, padding="valid"), (5, 6, 3)),
    "transposed, even kernel": (L.Conv2DTranspose(4, 4, strides=2, padding="same"), (5, 6, 3)),
    "transposed, kernel below stride": (
        L.Conv2DTranspose(4, 2, strides=3, padding="valid"),
        (5, 6, 3),
    ),
    "transposed 1d": (L.Conv1DTranspose(4, 5, strides=2, padding="same"), (5, 3)),
    "transposed 3d": (L.Conv3DTranspose(2, 3, strides=2, padding="same"), (3, 4, 3, 2)),
}
CHANNELS_FIRST = {
    "conv2d channels first": (
        L.Conv2D(4, 3, padding="same", strides=2, data_format="channels_first"),
        (5, 7, 8),
    ),
    "depthwise channels first": (L.DepthwiseConv2D(3, data_format="channels_first"), (3, 7, 8)),
    "transposed channels first": (
        L.Conv2DTranspose(4, 3, strides=2, padding="same", data_format="channels_first"),
        (3, 5, 6),
    ),
}
# TensorFlow has no channels-first convolutions on the CPU.
ALL_CASES = CASES if ON_CPU_OF_TENSORFLOW else CASES | CHANNELS_FIRST


@pytest.mark.parametrize("case", ALL_CASES)
def test_rows_times_matrix_is_the_output(case):
    layer, shape = ALL_CASES[case]
    if (
        case == "einsum elided"
        and keras.backend.backend() == "tensorflow"
        and older("tensorflow", "2.20")
    ):
        pytest.skip("TensorFlow's own einsum is wrong there on some CPUs")
    if (
        case.startswith("transposed")
        and keras.backend.backend() == "torch"
        and older("keras", "3.15")
    ):
        pytest.skip("Keras's own transposed convolutions were others on PyTorch")
    layer = type(layer).from_config(layer.get_config())
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, *shape)).astype("float32")
    layer(x)
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape))
    view = linear_view(layer)
    actual = view.flat_outputs(view.channels_last(keras.ops.convert_to_numpy(layer(x))))

    inputs = view.channels_last(x)
    positions = view.positions(inputs.shape)
    assert positions == actual.shape[1]
    sample, position = np.repeat(np.arange(3), positions), np.tile(np.arange(positions), 3)
    kernel = keras.ops.convert_to_numpy(view.kernel).astype("float64")
    predicted = view.rows(inputs, sample, position) @ view.to_matrix(kernel)
    if view.bias is not None:
        bias = keras.ops.convert_to_numpy(view.bias)
        predicted = predicted + view.bias_to_matrix(bias)
        np.testing.assert_array_equal(view.bias_from_matrix(view.bias_to_matrix(bias)), bias)
    predicted = np.moveaxis(predicted, 0, 1).reshape(actual.shape)
    np.testing.assert_allclose(predicted, actual, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(view.from_matrix(view.to_matrix(kernel)), kernel)


def test_layers_that_are_not_linear_in_one_kernel_have_no_view():
    class Mine(L.Dense):
        def call(self, inputs):
            return keras.ops.square(super().call(inputs))

    mine = Mine(3)
    mine.build((None, 4))
    assert linear_view(mine) is None
    assert linear_view(L.BatchNormalization()) is None
    assert linear_view(L.LSTM(3)) is None
    assert linear_view(L.Dense(3)) is None  # not built
    partly = L.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="e")
    partly.build((None, 7, 5))
    assert linear_view(partly) is None  # its bias is the same for all heads
    lora = L.Dense(3)
    lora.build((None, 4))
    lora.enable_lora(1)
    assert linear_view(lora) is None
