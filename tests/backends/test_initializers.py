"""keras_prelu.initializers: variances, and the signal in deep plain networks (claim 4)."""

import keras
import numpy as np
import pytest

from keras_prelu import initializers, prelu, theory

ALPHA = 0.25
DEPTH = 12


@pytest.mark.parametrize("cls", [initializers.PReLUHeNormal, initializers.PReLUHeUniform])
@pytest.mark.parametrize(("mode", "fan"), [("fan_in", 400), ("fan_out", 900)])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_variance(cls, mode, fan, alpha):
    weights = keras.ops.convert_to_numpy(cls(alpha, mode=mode, seed=0)((400, 900)))
    np.testing.assert_allclose(weights.var(), theory.he_variance(alpha, fan), rtol=0.02)
    np.testing.assert_allclose(weights.mean(), 0.0, atol=0.001)


def test_limits_are_keras_own_initializers():
    ours = initializers.PReLUHeNormal(0.0, seed=3)((20, 30))
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(ours),
        keras.ops.convert_to_numpy(keras.initializers.HeNormal(3)((20, 30))),
    )
    ours = initializers.PReLUHeUniform(1.0, seed=3)((20, 30))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(ours),
        keras.ops.convert_to_numpy(keras.initializers.LecunUniform(3)((20, 30))),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    "name",
    [
        "PReLUHeNormal",
        "PReLUHeUniform",
        "prelu_he_normal",
        "prelu_he_uniform",
        "keras_prelu>PReLUHeNormal",
    ],
)
def test_by_name_in_any_layer(name):
    layer = keras.layers.Dense(3, kernel_initializer=name)
    assert isinstance(
        layer.kernel_initializer, (initializers.PReLUHeNormal, initializers.PReLUHeUniform)
    )
    rebuilt = keras.layers.Dense.from_config(layer.get_config())
    assert rebuilt.kernel_initializer.get_config() == {
        "alpha": 0.25,
        "mode": "fan_in",
        "seed": None,
    }


def test_saves_with_a_model(tmp_path):
    initializer = initializers.PReLUHeNormal(0.1, mode="fan_out", seed=7)
    keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(3, kernel_initializer=initializer)]
    ).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[0].kernel_initializer
    assert (
        loaded.get_config()
        == initializer.get_config()
        == {"alpha": 0.1, "mode": "fan_out", "seed": 7}
    )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"alpha": "a"}, "alpha"),
        ({"alpha": float("inf")}, "alpha"),
        ({"mode": "fan_avg"}, "fan_out"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        initializers.PReLUHeNormal(**kwargs)


def _dense_layer(x, initializer):
    """A fully connected layer in each of many networks at once: x is (networks, samples, units)."""
    networks, _, units = x.shape
    # One call initializes the layer in all networks: the fan-in of a kernel (in, out) does not
    # depend on out.
    kernel = keras.ops.reshape(initializer((units, networks * units)), (units, networks, units))
    return keras.ops.einsum("nsi,ino->nso", x, kernel)


def _convolution_layer(x, initializer):
    """A 3 × 3 convolution in each of many networks at once: x is (networks, height, width,
    channels). It wraps around at the border, since zero padding loses signal there, of which claim
    4 knows nothing."""
    networks, _, _, channels = x.shape
    shifts = [keras.ops.roll(x, (i, j), axis=(1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    kernel = keras.ops.reshape(
        initializer((3, 3, channels, networks * channels)), (9 * channels, networks, channels)
    )
    return keras.ops.einsum("nhwi,ino->nhwo", keras.ops.concatenate(shifts, axis=-1), kernel)


def _layer_gains(layer, shape, initializer):
    """The factor of the second moment in each of DEPTH layers with PReLU (rows) of each network
    (columns)."""
    axes = tuple(range(1, len(shape)))
    x = keras.random.normal(shape, seed=0)
    moments = [keras.ops.mean(keras.ops.square(x), axis=axes)]
    for _ in range(DEPTH):
        x = prelu(layer(x, initializer), ALPHA)
        moments.append(keras.ops.mean(keras.ops.square(x), axis=axes))
    moments = keras.ops.convert_to_numpy(keras.ops.stack(moments)).astype("float64")
    return moments[1:] / moments[:-1]


# One network of width n has a gain that is about log-normal with variance 3·DEPTH/n, so thousands of
# narrow networks are needed: the claim holds for every width, and the narrower the networks are, the
# fewer weights are drawn for the same error. Each layer's mean over the networks is taken before the
# layers are multiplied, which keeps a few lucky networks from deciding the result.
DENSE = (_dense_layer, (3200, 1, 12))
CONVOLUTIONAL = (_convolution_layer, (2800, 4, 4, 4))


@pytest.mark.usefixtures("optimized")  # more is computed than compiled
@pytest.mark.parametrize(
    ("layer", "shape", "ours"),
    [
        (*DENSE, True),
        (*DENSE, False),
        (*CONVOLUTIONAL, True),
        pytest.param(*CONVOLUTIONAL, False, marks=pytest.mark.slow),
    ],
)
def test_the_signal_in_deep_plain_networks(layer, shape, ours):
    generator = keras.random.SeedGenerator(1234)
    initializer = (
        initializers.PReLUHeNormal(ALPHA, seed=generator)
        if ours
        else keras.initializers.HeNormal(seed=generator)
    )
    gains = _layer_gains(layer, shape, initializer)
    gain = np.prod(gains.mean(axis=1))
    error = np.sqrt(np.sum(gains.var(axis=1) / gains.mean(axis=1) ** 2) / gains.shape[1])
    assert error < 0.055  # relative standard error; else the test could not tell
    np.testing.assert_allclose(gain, 1.0 if ours else theory.network_gain(ALPHA, DEPTH), rtol=0.1)
