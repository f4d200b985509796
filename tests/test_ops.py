"""keras_prelu.ops: values and gradients of prelu against float64 references (claim 1)."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_prelu import prelu
from tests import references
from tests.gradients import finite_differences, gradients

FLOATS = st.floats(-50, 50, width=32)


def evaluate(x, alpha):
    return keras.ops.convert_to_numpy(prelu(keras.ops.convert_to_tensor(x), alpha))


@given(
    x=hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4), elements=FLOATS),
    alpha=st.floats(-3, 3, width=32),
)
def test_values_equal_the_definition(x, alpha):
    np.testing.assert_allclose(evaluate(x, alpha), references.prelu(x, alpha), rtol=1e-6, atol=1e-6)


@given(
    shape=hnp.array_shapes(min_dims=2, max_dims=4, max_side=3),
    channels=st.integers(1, 3),
    seed=st.integers(0, 99),
    scalar=st.booleans(),
)
def test_gradients_equal_finite_differences(shape, channels, seed, scalar):
    rng = np.random.default_rng(seed)
    x = rng.choice([-2.5, -1.0, -0.3, 0.4, 1.0, 2.0], size=(*shape, channels))
    alpha = rng.uniform(-1.5, 1.5, size=() if scalar else (channels,))
    weights = rng.normal(size=x.shape)

    dx, dalpha = gradients(
        lambda x, a: keras.ops.sum(prelu(x, a) * keras.ops.convert_to_tensor(weights.astype("float32"))),
        x.astype("float32"),
        alpha.astype("float32"),
    )

    expected_dx, expected_dalpha = finite_differences(lambda x, a: float(np.sum(references.prelu(x, a) * weights)), x, alpha)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dalpha, expected_dalpha, rtol=1e-4, atol=1e-4)
    assert dalpha.shape == alpha.shape


@pytest.mark.parametrize("alpha", [0.25, 0.0, -0.5, 2.0])
def test_zero_belongs_to_the_negative_side(alpha):
    x = np.zeros(3, "float32")
    dx, dalpha = gradients(lambda x, a: keras.ops.sum(prelu(x, a)), x, np.float32(alpha).reshape(1))
    np.testing.assert_array_equal(dx, np.full(3, alpha, "float32"))
    np.testing.assert_array_equal(dalpha, [0.0])
    np.testing.assert_array_equal(evaluate(x, alpha), 0.0)


def test_infinities_and_nan_propagate():
    x = np.array([np.inf, -np.inf, np.nan], "float32")
    np.testing.assert_array_equal(evaluate(x, 0.25), [np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(evaluate(x, -1.0), [np.inf, np.inf, np.nan])
    dx, dalpha = gradients(lambda x, a: keras.ops.sum(prelu(x, a)), x[:1], np.float32([0.25]))
    np.testing.assert_array_equal(dx, [1.0])
    np.testing.assert_array_equal(dalpha, [0.0])  # not 0·∞
    _, dalpha = gradients(lambda x, a: keras.ops.sum(prelu(x, a)), x[2:], np.float32([0.25]))
    assert np.isnan(dalpha[0])


def test_zero_slope_is_relu_bit_for_bit():
    x = np.random.default_rng(0).normal(size=1000).astype("float32")
    relu = keras.ops.convert_to_numpy(keras.ops.relu(x))
    assert evaluate(x, 0.0).tobytes() == relu.tobytes()


def test_empty_tensors():
    x = np.zeros((0, 3), "float32")
    assert evaluate(x, np.float32([0.1, 0.2, 0.3])).shape == (0, 3)
    dx, dalpha = gradients(lambda x, a: keras.ops.sum(prelu(x, a)), x, np.float32([0.1, 0.2, 0.3]))
    assert dx.shape == (0, 3)
    np.testing.assert_array_equal(dalpha, np.zeros(3))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_keeps_dtypes_and_sums_in_float32(dtype):
    x = keras.ops.cast(-np.ones((4096, 1), "float32"), dtype)
    alpha = np.float32([0.25])
    assert keras.backend.standardize_dtype(prelu(x, alpha).dtype) == dtype

    (gradient,) = gradients(lambda a: keras.ops.sum(keras.ops.cast(prelu(x, a), "float32")), alpha)
    assert gradient.dtype == np.float32
    np.testing.assert_array_equal(gradient, [-4096.0])  # a float16 sum of ones stops at 2048, a bfloat16 one at 256


def test_second_derivative():
    def first_derivative(x, a):
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(a)
                y = keras.ops.sum(prelu(x, a) ** 3)
            return keras.ops.sum(tape.gradient(y, a))
        if keras.backend.backend() == "jax":
            import jax

            return keras.ops.sum(jax.grad(lambda a: keras.ops.sum(prelu(x, a) ** 3))(a))
        import torch

        (gradient,) = torch.autograd.grad(keras.ops.sum(prelu(x, a) ** 3), a, create_graph=True)
        return gradient.sum()

    x, a = np.float32([-2.0, 1.0]), np.float32([0.5])
    _, second = gradients(first_derivative, x, a)
    np.testing.assert_allclose(second, [6 * 0.5 * (-2.0) ** 3], rtol=1e-5)  # d²/da² (ax)³ = 6ax³


def test_integers_are_cast():
    np.testing.assert_array_equal(evaluate(np.array([-4, 3]), 0.5), [-2.0, 3.0])


def test_as_a_node_of_a_functional_model(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, prelu(inputs, 0.25))
    x = np.float32([[-4.0, 0.0, 2.0]])
    np.testing.assert_array_equal(model.predict(x, verbose=0), [[-1.0, 0.0, 2.0]])
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras").predict(x, verbose=0), [[-1.0, 0.0, 2.0]])


@pytest.mark.parametrize("shapes", [((2, 3), (3,)), ((2, 1), (3,)), ((3,), (2, 1)), ((2, 3, 4), (3, 1)), ((), (3,))])
def test_gradients_have_the_operands_shapes(shapes):
    rng = np.random.default_rng(0)
    x, alpha = (np.asarray(rng.normal(size=shape), "float32") for shape in shapes)
    assert keras.ops.shape(prelu(x, alpha)) == np.broadcast_shapes(*shapes)
    assert [gradient.shape for gradient in gradients(lambda x, a: keras.ops.sum(prelu(x, a)), x, alpha)] == list(shapes)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="transformations of JAX")
def test_jax_transformations():
    import jax

    x, a = jax.numpy.array([[-2.0, 1.0], [3.0, -4.0]]), jax.numpy.array([0.5])
    np.testing.assert_array_equal(jax.vmap(lambda row: prelu(row, a))(x), references.prelu(x, 0.5))
    gradient = jax.grad(lambda a: jax.checkpoint(lambda a: prelu(x, a).sum())(a))(a)
    np.testing.assert_array_equal(gradient, [-6.0])
    np.testing.assert_array_equal(jax.vmap(jax.grad(lambda row: prelu(row, a).sum()))(x), [[0.5, 1.0], [1.0, 0.5]])


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="transformations of PyTorch")
def test_torch_transformations():
    import torch

    x, a = torch.tensor([[-2.0, 1.0], [3.0, -4.0]]), torch.tensor([0.5])
    np.testing.assert_array_equal(torch.func.vmap(lambda row: prelu(row, a))(x), references.prelu(x, 0.5))
    np.testing.assert_array_equal(torch.func.grad(lambda a: prelu(x, a).sum())(a), [-6.0])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="modes of TensorFlow")
def test_tensorflow_modes():
    import tensorflow as tf

    x, a = tf.constant([[-2.0, 1.0], [3.0, -4.0]]), tf.Variable([0.5])
    for jit_compile in (False, True):
        with tf.GradientTape(persistent=True) as tape:
            y = tf.function(lambda: tf.reduce_sum(prelu(x, a)), jit_compile=jit_compile)()
        np.testing.assert_array_equal(tape.gradient(y, a), [-6.0])
        np.testing.assert_array_equal(tape.gradient(y, a), [-6.0])
