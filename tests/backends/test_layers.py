"""keras_prelu.layers: the PReLU layer on every rank, map and dtype policy, and as a drop-in for
keras.layers.PReLU."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras.src import testing  # Keras's own battery for layers; not public, used by tests alone

from keras_prelu import PReLU, constraints, initializers, parameterizations, regularizers
from keras_prelu.layers import is_slope
from tests.helpers import references
from tests.helpers.gradients import finite_differences, gradients, kept_for_backward

MAPS = parameterizations.names()


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


class TestAgainstKeras(testing.TestCase):
    """The tests that Keras has for its own PReLU, with parameterization="identity"."""

    @pytest.mark.filterwarnings(
        "ignore:`shuffle=True` was passed, but will be ignored:UserWarning"
    )  # by Keras's battery
    def test_prelu(self):
        self.run_layer_test(
            PReLU,
            init_kwargs={
                "parameterization": "identity",
                "alpha_initializer": "zeros",
                "alpha_regularizer": "L1",
                "alpha_constraint": "MaxNorm",
                "shared_axes": 1,
            },
            input_shape=(2, 3, 4),
            supports_masking=True,
        )

    def test_prelu_correctness(self):
        def np_prelu(x, alpha):
            return (x > 0) * x + (x <= 0) * alpha * x

        inputs = np.random.randn(2, 10, 5, 3)
        prelu_layer = PReLU(
            alpha_initializer="glorot_uniform",
            alpha_regularizer="l1",
            alpha_constraint="non_neg",
            shared_axes=(1, 2),
            parameterization="identity",
        )
        prelu_layer.build(inputs.shape)
        weights = np.random.random((1, 1, 3))
        prelu_layer.alpha.assign(weights)
        ref_out = np_prelu(inputs, weights)
        self.assertAllClose(prelu_layer(inputs), ref_out)

    @pytest.mark.filterwarnings(
        "ignore:`shuffle=True` was passed, but will be ignored:UserWarning"
    )  # by Keras's battery
    def test_battery_with_our_own_arguments(self):
        for kwargs in (
            {},
            {"parameterization": "square", "beta_regularizer": "l2", "max_value": 6},
            {
                "parameterization": "softplus",
                "alpha_regularizer": regularizers.AlphaL2(0.1),
                "shared_axes": "channel_shared",
            },
            {
                "parameterization": "sigmoid",
                "alpha_initializer": [0.1, 0.2, 0.3, 0.4],
                "data_format": "channels_last",
            },
        ):
            self.run_layer_test(
                PReLU, init_kwargs=kwargs, input_shape=(2, 3, 4), supports_masking=True
            )


@pytest.mark.parametrize("shared_axes", [None, 1, [1, 2], (1, 2)])
def test_identity_equals_the_stock_layer(shared_axes):
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype("float32")
    stock = keras.layers.PReLU(
        alpha_initializer=keras.initializers.RandomUniform(seed=1), shared_axes=shared_axes
    )
    stock.build(x.shape)
    ours = PReLU(parameterization="identity", shared_axes=shared_axes)
    ours.build(x.shape)
    assert ours.alpha.shape == stock.alpha.shape
    ours.set_weights(stock.get_weights())
    np.testing.assert_allclose(as_numpy(ours(x)), as_numpy(stock(x)), rtol=1e-6)


@pytest.mark.parametrize("parameterization", MAPS)
@pytest.mark.parametrize("shape", [(2, 3), (2, 5, 3), (2, 4, 5, 3), (2, 2, 3, 4, 3)])
def test_channel_wise_on_every_rank(parameterization, shape):
    slopes = np.float32([0.1, 0.25, 0.7])
    layer = PReLU(slopes, parameterization=parameterization)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    np.testing.assert_allclose(
        as_numpy(layer(x)), references.prelu(x, slopes), rtol=1e-5, atol=1e-6
    )
    assert layer.beta.shape == (*(1,) * (len(shape) - 2), 3)
    np.testing.assert_allclose(as_numpy(layer.alpha).reshape(-1), slopes, rtol=1e-6)


def test_channels_first():
    slopes = np.float32([0.1, 0.25, 0.7])
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    layer = PReLU(slopes, data_format="channels_first")
    np.testing.assert_allclose(
        as_numpy(layer(x)), references.prelu(x, slopes[:, None, None]), rtol=1e-5, atol=1e-6
    )
    keras.config.set_image_data_format("channels_first")
    assert PReLU().data_format == "channels_first"


@pytest.mark.parametrize(
    ("shared_axes", "expected"),
    [("channel_shared", (1, 1, 1)), (None, (4, 5, 3)), (-1, (4, 5, 1)), ([1, -1], (1, 5, 1))],
)
def test_shared_axes(shared_axes, expected):
    layer = PReLU(shared_axes=shared_axes)
    layer.build((None, 4, 5, 3))
    assert layer.beta.shape == expected


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((None, None, 3), 3), ((None, 7), 7), ((None, None, None, 2), 2), ((5,), 5)],
)
def test_unknown_sizes(shape, channels):
    inputs = keras.Input(shape)
    model = keras.Model(inputs, PReLU()(inputs))
    assert model.output_shape == (None, *shape)
    x = np.random.default_rng(0).normal(size=(2, *(size or 4 for size in shape))).astype("float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), references.prelu(x, 0.25), rtol=1e-6)
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == channels


@pytest.mark.parametrize("shared_axes", [None, "channel_wise"])
def test_unknown_size_of_an_axis_with_slopes_is_named(shared_axes):
    with pytest.raises(ValueError, match=r"known size for axis \d"):
        PReLU(shared_axes=shared_axes, name="act").build((None, None, None))


@pytest.mark.parametrize("parameterization", ["exp", "softplus"])
@pytest.mark.parametrize("alpha", [0, 0.0, -0.1, [0.1, 0.0, 0.3]])
def test_unrepresentable_slopes_are_refused_with_a_way_out(parameterization, alpha):
    with pytest.raises(ValueError, match=r"can be represented by .*'identity'"):
        PReLU(alpha, parameterization=parameterization)


def test_unrepresentable_slopes_of_an_initializer_are_refused_when_built():
    layer = PReLU("zeros", parameterization="sigmoid")
    with pytest.raises(ValueError, match="'identity'"):
        layer.build((None, 3))
    with pytest.raises(ValueError, match="'exp' and 'square'"):
        PReLU(1.5, parameterization="sigmoid")


def test_square_refuses_a_slope_of_zero_unless_asked():
    with pytest.raises(ValueError, match="never moves"):
        PReLU(0.0, parameterization="square")
    layer = PReLU(0.0, parameterization=parameterizations.Square(allow_zero=True))
    x = np.float32([[-1.0, 2.0]])
    np.testing.assert_array_equal(as_numpy(layer(x)), [[0.0, 2.0]])
    rebuilt = PReLU.from_config(layer.get_config())
    assert rebuilt.parameterization == parameterizations.Square(allow_zero=True)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"parameterization": "cube"}, "'exp', 'square'"),
        ({"alpha_constraint": "non_neg"}, "identity"),
        ({"shared_axes": "rows"}, "channel_wise"),
        ({"shared_axes": 1.5}, "channel_wise"),
        ({"max_value": 0}, "max_value=0"),
        ({"max_value": "6"}, "max_value='6'"),
        ({"data_format": "NHWC"}, "channels_first"),
        ({"alpha_initializer": None}, "None"),
        ({"alpha_initializer": True}, "True"),
        ({"alpha_initializer": float("nan")}, "finite"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        PReLU(**kwargs)


def test_bad_shapes():
    with pytest.raises(ValueError, match="rank 1"):
        PReLU().build((3,))
    with pytest.raises(ValueError, match=r"axes 1 to 2.*shared_axes=\[0\]"):
        PReLU(shared_axes=0).build((None, 4, 3))
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        PReLU([0.1, 0.2]).build((None, 3))


@given(alpha=st.floats(0.01, 0.99), parameterization=st.sampled_from(MAPS))
def test_initial_slope_under_every_map(alpha, parameterization):
    for initializer in (alpha, keras.initializers.Constant(alpha), np.full(3, alpha)):
        layer = PReLU(initializer, parameterization=parameterization)
        layer.build((None, 3))
        np.testing.assert_allclose(as_numpy(layer.alpha), alpha, rtol=2e-6)


@pytest.mark.parametrize("parameterization", MAPS)
def test_gradient_of_beta_equals_finite_differences(parameterization):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(6, 4, 3)), rng.normal(size=(6, 4, 3))
    layer = PReLU(np.float32([0.2, 0.5, 0.8]), parameterization=parameterization)
    layer.build(x.shape)
    beta = as_numpy(layer.beta).astype("float64")

    def loss(beta):
        (y, _) = layer.stateless_call([beta], [], x.astype("float32"))
        return keras.ops.sum(y * keras.ops.convert_to_tensor(weights.astype("float32")))

    from keras_prelu import theory

    (expected,) = finite_differences(
        lambda b: float(np.sum(references.prelu(x, theory.slope(parameterization, b)) * weights)),
        beta,
    )
    (actual,) = gradients(loss, beta.astype("float32"))
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


def test_max_value():
    layer = PReLU(0.5, max_value=6)
    np.testing.assert_array_equal(
        as_numpy(layer(np.float32([[-4.0, 3.0, 6.0, 9.0]]))), [[-2.0, 3.0, 6.0, 6.0]]
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_dtype_policies(policy):
    if policy == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless it is told to")
    layer = PReLU(0.25, dtype=policy)
    y = layer(np.float32([[-4.0, 2.0]]))
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    assert layer.beta.dtype == layer.variable_dtype
    np.testing.assert_allclose(as_numpy(keras.ops.cast(y, "float32")), [[-1.0, 2.0]], rtol=1e-3)


def test_mixed_precision_keeps_the_slope_in_float32():
    layer = PReLU(0.1234567, dtype="mixed_float16")
    layer.build((None, 1))
    np.testing.assert_allclose(as_numpy(layer.alpha), 0.1234567, rtol=1e-6)


def test_masks_pass_through():
    inputs = keras.Input((4,), dtype="int32")
    embedded = keras.layers.Embedding(10, 3, mask_zero=True)(inputs)
    outputs = keras.layers.GlobalAveragePooling1D()(PReLU(name="act")(embedded))
    model = keras.Model(inputs, outputs)
    reference = keras.Model(inputs, model.get_layer("act").output)
    x = np.array([[1, 2, 0, 0]])
    np.testing.assert_allclose(
        model.predict(x, verbose=0)[0], reference.predict(x, verbose=0)[0, :2].mean(0), rtol=1e-5
    )


@pytest.mark.parametrize("parameterization", MAPS)
def test_save_and_load(tmp_path, parameterization):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            PReLU([0.1, 0.2, 0.3, 0.4], parameterization=parameterization, max_value=1.0),
        ]
    )
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert loaded.layers[0].get_config() == model.layers[0].get_config()


def test_regularizers_appear_once_in_the_losses():
    inputs = keras.Input((3,))
    layer = PReLU(
        0.5,
        alpha_regularizer=regularizers.AlphaL2(0.1),
        beta_regularizer=keras.regularizers.L1(0.01),
    )
    model = keras.Model(inputs, layer(layer(inputs)))
    assert len(model.losses) == 1
    expected = 0.05 * 3 * 0.25 + 0.01 * 3 * abs(np.log(0.5))
    np.testing.assert_allclose(as_numpy(model.losses[0]), expected, rtol=1e-5)


def test_trains_in_fit():
    model = keras.Sequential([keras.Input((3,)), PReLU(0.25)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    x = np.random.default_rng(0).normal(size=(256, 3)).astype("float32")
    y = references.prelu(x, [0.1, 0.5, 1.2]).astype("float32")
    x, y = (np.tile(array, (150, 1)) for array in (x, y))  # 150 steps in one epoch
    model.fit(x, y, batch_size=256, shuffle=False, verbose=0)
    np.testing.assert_allclose(as_numpy(model.layers[0].alpha), [0.1, 0.5, 1.2], atol=0.01)


def test_only_beta_is_marked_as_a_slope():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(3, kernel_initializer=initializers.PReLUHeNormal()),
            PReLU(),
        ]
    )
    assert [is_slope(variable) for variable in model.trainable_variables] == [False, False, True]


@pytest.mark.tensorflow
def test_in_a_tf_function_that_builds_it():
    import tensorflow as tf

    layer = PReLU(keras.initializers.RandomUniform(0.1, 0.3, seed=0))

    @tf.function(autograph=False)
    def function(x):
        return layer(x)

    y = function(tf.constant([[-1.0, 1.0]]))
    np.testing.assert_allclose(y, references.prelu([[-1.0, 1.0]], as_numpy(layer.alpha)), rtol=1e-6)


CERTAIN_SIGN = [
    ("exp", None, "float32"),
    ("softplus", None, "float32"),
    ("sigmoid", None, "float32"),
    ("square", None, "float32"),
    ("identity", constraints.AtLeast(0.01), "float32"),
    ("exp", None, "mixed_float16"),
    ("square", None, "mixed_bfloat16"),
]
UNCERTAIN_SIGN = [
    ("identity", None, "float32"),
    ("identity", "non_neg", "float32"),
    (parameterizations.Square(allow_zero=True), None, "float32"),
    ("square", None, "mixed_float16"),
    ("identity", constraints.AtLeast(0.01), "mixed_float16"),
]


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="TensorFlow does not tell what it keeps"
)
@pytest.mark.parametrize(
    ("parameterization", "constraint", "dtype", "tensors"),
    [(*case, 1) for case in CERTAIN_SIGN] + [(*case, 2) for case in UNCERTAIN_SIGN],
)
@pytest.mark.parametrize("max_value", [None, 6])
def test_nothing_but_the_output_is_kept_where_the_sign_is_certain(
    parameterization, constraint, dtype, tensors, max_value
):
    """A product after the layer keeps both its factors, the output one of them; the layer adds its
    input only where it must."""
    layer = PReLU(
        parameterization=parameterization,
        alpha_constraint=constraint,
        dtype=dtype,
        max_value=max_value,
    )
    x, factor = np.random.default_rng(0).normal(size=(2, 256, 16)).astype("float32")
    layer.build(x.shape)

    def scaled(x, factor):
        x, factor = (keras.ops.cast(tensor, layer.compute_dtype) for tensor in (x, factor))
        return layer(x) * factor

    if max_value is not None and tensors == 2:
        tensors = 3  # the cap is an operation of its own then
    one = x.size * (2 if "16" in dtype else 4)
    assert 0 <= kept_for_backward(scaled, x, factor) - (tensors + 1) * one < one / 2


@pytest.mark.parametrize("stored", ["exp", "square", "identity"])
@pytest.mark.parametrize("loading", ["exp", "square", "identity"])
def test_weights_of_another_map_are_refused(stored, loading, tmp_path):
    """β under another map is another slope."""

    def network(parameterization):
        layer = PReLU(0.25, parameterization=parameterization, name="activation")
        return keras.Sequential([keras.Input((3,)), layer])

    first, second = network(stored), network(loading)
    first.layers[0].beta.assign(first.layers[0].beta * 1.1)
    first.save_weights(tmp_path / "w.weights.h5")
    if stored == loading:
        second.load_weights(tmp_path / "w.weights.h5")
        np.testing.assert_array_equal(second.layers[0].beta, first.layers[0].beta)
        return
    before = keras.ops.convert_to_numpy(second.layers[0].beta)
    with pytest.raises(ValueError, match=f'belong to the parameterization "{stored}"'):
        second.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(second.layers[0].beta, before)


def test_weights_of_the_stock_layer_load(tmp_path):
    stock = keras.Sequential([keras.Input((3,)), keras.layers.PReLU(name="activation")])
    stock.layers[0].alpha.assign([0.1, 0.2, 0.3])
    stock.save_weights(tmp_path / "w.weights.h5")
    ours = keras.Sequential(
        [keras.Input((3,)), PReLU(parameterization="identity", name="activation")]
    )
    ours.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_allclose(ours.layers[0].alpha, [0.1, 0.2, 0.3])


@pytest.mark.parametrize("parameterization", ["identity", "exp"])
@pytest.mark.parametrize("shared_axes", ["channel_wise", "channel_shared"])
@pytest.mark.parametrize("shape", [(5, 3), (5, 2, 3), (5, 2, 4, 3)])
def test_slopes_of_the_last_axis_fit_inputs_of_other_ranks(shape, shared_axes, parameterization):
    """As a ReLU's: Keras infers too high a rank for some layers."""
    slopes = np.float32([0.1, 0.2, 0.3]) if shared_axes == "channel_wise" else np.float32([0.2])
    layer = PReLU(slopes, parameterization=parameterization, shared_axes=shared_axes)
    layer.build((None, 4, 1, 3))
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    expected = np.where(x > 0, x, slopes * x)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(x)), expected, rtol=1e-6)


def test_slopes_of_the_last_axis_need_its_size():
    layer = PReLU(np.float32([0.1, 0.2, 0.3]))
    layer.build((None, 4, 3))
    with pytest.raises(ValueError, match="axis -1"):
        layer(np.ones((5, 4), "float32"))
