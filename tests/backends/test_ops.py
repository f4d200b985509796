"""keras_prelu.ops: values and gradients of the three operations against float64 references (claim
1)."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_prelu import PReLU, prelu
from keras_prelu.ops import positive_prelu, prelu_to_one
from tests.helpers import references
from tests.helpers.gradients import finite_differences, gradients, kept_for_backward

FLOATS = st.floats(-50, 50, width=32)
# Each operation, and the slopes that it is for.
OPERATIONS = {prelu: (-1.5, 1.5), positive_prelu: (0.05, 1.5), prelu_to_one: (0.05, 1.0)}
KEEPING_THE_OUTPUT = [positive_prelu, prelu_to_one]
every_operation = pytest.mark.parametrize("operation", OPERATIONS)


def evaluate(x, alpha, operation=prelu):
    return keras.ops.convert_to_numpy(operation(keras.ops.convert_to_tensor(x), alpha))


def summed(operation, **kwargs):
    return lambda x, a: keras.ops.sum(operation(x, a, **kwargs))


@every_operation
@given(
    x=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4),
        elements=FLOATS,
    ),
    fraction=st.floats(0, 1, width=32),
)
def test_values_equal_the_definition(operation, x, fraction):
    lowest, highest = OPERATIONS[operation]
    alpha = lowest + fraction * (highest - lowest)
    np.testing.assert_allclose(
        evaluate(x, alpha, operation), references.prelu(x, alpha), rtol=1e-6, atol=1e-6
    )


@every_operation
@given(
    # A few shapes of each rank: JAX compiles each operation for each of them.
    shape=st.sampled_from([(1, 2), (3, 1), (2, 1, 3), (3, 2, 1, 2)]),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
    scalar=st.booleans(),
)
def test_gradients_equal_finite_differences(operation, shape, channels, seed, scalar):
    rng = np.random.default_rng(seed)
    x = rng.choice([-2.5, -1.0, -0.3, 0.4, 1.0, 2.0], size=(*shape, channels))
    alpha = rng.uniform(*OPERATIONS[operation], size=() if scalar else (channels,))
    weights = rng.normal(size=x.shape)

    dx, dalpha = gradients(
        lambda x, a: keras.ops.sum(
            operation(x, a) * keras.ops.convert_to_tensor(weights.astype("float32"))
        ),
        x.astype("float32"),
        alpha.astype("float32"),
    )

    expected_dx, expected_dalpha = finite_differences(
        lambda x, a: float(np.sum(references.prelu(x, a) * weights)), x, alpha
    )
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


@every_operation
def test_infinities_and_nan_propagate(operation):
    x = np.array([np.inf, -np.inf, np.nan], "float32")
    np.testing.assert_array_equal(evaluate(x, 0.25, operation), [np.inf, -np.inf, np.nan])
    dx, dalpha = gradients(summed(operation), x[:1], np.float32([0.25]))
    np.testing.assert_array_equal(dx, [1.0])
    np.testing.assert_array_equal(dalpha, [0.0])  # not 0·∞
    _, dalpha = gradients(summed(operation), x[2:], np.float32([0.25]))
    assert np.isnan(dalpha[0])


def test_a_negative_slope_of_minus_infinity():
    np.testing.assert_array_equal(
        evaluate(np.array([np.inf, -np.inf], "float32"), -1.0), [np.inf, np.inf]
    )


def test_zero_slope_is_relu_bit_for_bit():
    x = np.random.default_rng(0).normal(size=1000).astype("float32")
    relu = keras.ops.convert_to_numpy(keras.ops.relu(x))
    assert evaluate(x, 0.0).tobytes() == relu.tobytes()


@every_operation
def test_empty_tensors(operation):
    x = np.zeros((0, 3), "float32")
    assert evaluate(x, np.float32([0.1, 0.2, 0.3]), operation).shape == (0, 3)
    dx, dalpha = gradients(summed(operation), x, np.float32([0.1, 0.2, 0.3]))
    assert dx.shape == (0, 3)
    np.testing.assert_array_equal(dalpha, np.zeros(3))


@every_operation
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_keeps_dtypes_and_sums_in_float32(dtype, operation):
    x = keras.ops.cast(-np.ones((4096, 1), "float32"), dtype)
    alpha = np.float32([0.25])
    assert keras.backend.standardize_dtype(operation(x, alpha).dtype) == dtype

    (gradient,) = gradients(
        lambda a: keras.ops.sum(keras.ops.cast(operation(x, a), "float32")), alpha
    )
    assert gradient.dtype == np.float32
    np.testing.assert_array_equal(
        gradient, [-4096.0]
    )  # a float16 sum of ones stops at 2048, a bfloat16 one at 256


@every_operation
def test_second_derivative(operation):
    def first_derivative(x, a):
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(a)
                y = keras.ops.sum(operation(x, a) ** 3)
            return keras.ops.sum(tape.gradient(y, a))
        if keras.backend.backend() == "jax":
            import jax

            return keras.ops.sum(jax.grad(lambda a: keras.ops.sum(operation(x, a) ** 3))(a))
        import torch

        (gradient,) = torch.autograd.grad(keras.ops.sum(operation(x, a) ** 3), a, create_graph=True)
        return gradient.sum()

    x, a = np.float32([-2.0, 1.0]), np.float32([0.5])
    mixed, second = gradients(first_derivative, x, a)
    np.testing.assert_allclose(second, [6 * 0.5 * (-2.0) ** 3], rtol=1e-5)  # d²/da² (ax)³ = 6ax³
    np.testing.assert_allclose(
        mixed, [9 * 0.5**2 * (-2.0) ** 2, 0.0], rtol=1e-5
    )  # d²/dadx (ax)³ = 9a²x²


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="TensorFlow does not tell what it keeps"
)
@pytest.mark.parametrize("operation", KEEPING_THE_OUTPUT)
def test_one_tensor_is_kept(operation):
    x, alpha = (
        np.random.default_rng(0).normal(size=(64, 32)).astype("float32"),
        np.full(32, 0.25, "float32"),
    )
    assert kept_for_backward(operation, x, alpha) == x.nbytes + alpha.nbytes
    assert (
        kept_for_backward(prelu, x, alpha) == x.nbytes + alpha.nbytes
    )  # the input, which nobody else keeps


@pytest.mark.parametrize("operation", KEEPING_THE_OUTPUT)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_tiny_slopes(operation, dtype):
    """At α = 1e-8 float16 outputs underflow to 0; ∂L/∂x doesn't, and what ∂L/∂β lacks is below
    float16's smallest number."""
    x = np.float32([[-0.5, 2.0], [-1.0, -4.0]])
    alpha = np.float32([1e-8])

    def loss(x, a):
        return keras.ops.sum(keras.ops.cast(operation(keras.ops.cast(x, dtype), a), "float32"))

    dx, dalpha = gradients(loss, x, alpha)
    np.testing.assert_allclose(
        dx,
        keras.ops.convert_to_numpy(
            keras.ops.cast(np.float32([[1e-8, 1], [1e-8, 1e-8]]), dtype)
        ).astype("float32"),
    )
    expected = 0.0 if dtype == "float16" else -5.5
    np.testing.assert_allclose(dalpha, [expected], rtol=1e-2 if dtype == "bfloat16" else 1e-5)
    assert (
        abs(1e-8 * (dalpha[0] - -5.5)) <= 3 * 2.0**-24
    )  # ∂L/∂β = α·∂L/∂α under exp; three negative outputs


@pytest.mark.parametrize("operation", KEEPING_THE_OUTPUT)
def test_a_slope_that_underflowed_to_zero_has_gradient_zero(operation):
    dx, dalpha = gradients(summed(operation), np.float32([-2.0, 3.0]), np.float32([0.0]))
    np.testing.assert_array_equal(dx, [0.0, 1.0])
    np.testing.assert_array_equal(dalpha, [0.0])


@pytest.mark.parametrize("operation", KEEPING_THE_OUTPUT)
def test_capped(operation):
    x, alpha = np.float32([[-3.0, 0.5], [1.5, 4.0], [2.5, -0.5]]), np.float32([0.3, 0.7])
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(operation(keras.ops.convert_to_tensor(x), alpha, max_value=2.0)),
        np.minimum(references.prelu(x, alpha), 2.0),
        rtol=1e-6,
    )
    found = gradients(lambda x, a: keras.ops.sum(operation(x, a, max_value=2.0) ** 2), x, alpha)
    expected = finite_differences(
        lambda x, a: float(np.sum(np.minimum(references.prelu(x, a), 2.0) ** 2)), x, alpha
    )
    for gradient, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "shape", [(2, 16, 16, 3), (3, 7, 7, 3), (2, 5, 3), (4, 3), (1, 32, 32, 8), (2, 128, 64)]
)
@every_operation
def test_sums_over_many_positions(operation, shape):
    """Long sums are taken in parts, whose number depends on the shape."""
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(2, *shape)).astype("float32")
    alpha = rng.uniform(0.1, 0.9, size=(1,) * (len(shape) - 2) + shape[-1:]).astype("float32")
    _, dalpha = gradients(
        lambda x, a: keras.ops.sum(operation(x, a) * keras.ops.convert_to_tensor(weights)), x, alpha
    )
    expected = np.sum(
        np.minimum(x.astype("float64"), 0) * weights, axis=tuple(range(len(shape) - 1))
    )
    np.testing.assert_allclose(dalpha.reshape(-1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="shapes that TensorFlow alone leaves open"
)
@every_operation
def test_slopes_of_unknown_shape(operation):
    """A slope for each sample and channel, in a graph that knows neither the number of samples nor
    of positions."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, 4, 4, 3)), tf.TensorSpec((None, 1, 1, 3))])
    def slopes_gradient(x, a):
        with tf.GradientTape() as tape:
            tape.watch(a)
            y = operation(x, a)
        return tape.gradient(y, a)

    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    found = slopes_gradient(x, np.full((2, 1, 1, 3), 0.5, "float32"))
    np.testing.assert_allclose(found, np.minimum(x, 0).sum(axis=(1, 2), keepdims=True), rtol=1e-5)


def test_integers_are_cast():
    np.testing.assert_array_equal(evaluate(np.array([-2, 3]), 0.5), np.float32([-1, 3]))
    keras.config.set_floatx("float16")
    try:
        assert (
            keras.backend.standardize_dtype(prelu(keras.ops.array([-2, 3], "int32"), 0.5).dtype)
            == "float16"
        )
    finally:
        keras.config.set_floatx("float32")


@every_operation
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("alpha", [1, 0.5, np.int32([1, 1]), np.float32([0.5, 1])], ids=str)
def test_slopes_of_any_type_leave_the_inputs_dtype(operation, alpha, dtype):
    x = keras.ops.array([[-2.0, 3.0], [0.0, -4.0]], dtype)
    result = operation(x, alpha)
    assert keras.backend.standardize_dtype(result.dtype) == dtype
    expected = references.prelu(np.array([[-2.0, 3.0], [0.0, -4.0]]), np.asarray(alpha, "float64"))
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(keras.ops.cast(result, "float32")), expected
    )


@pytest.mark.parametrize("operation", KEEPING_THE_OUTPUT)
def test_a_cap_leaves_half_precision_as_it_is(operation):
    x, alpha = np.float16([-2.0, 3.0, 9.0]), np.float16(0.5)
    assert keras.backend.standardize_dtype(operation(x, alpha, 6.0).dtype) == "float16"
    of_input, of_slope = gradients(summed(operation, max_value=6.0), x, alpha)
    assert (of_input.dtype, of_slope.dtype) == (np.float16, np.float16)
    np.testing.assert_array_equal(of_input, [0.5, 1.0, 0.0])
    assert float(of_slope) == -2.0


@pytest.mark.parametrize(
    ("x", "alpha"),
    [
        ((2, 1, 3), (4, 1)),
        ((3,), (2, 1)),
        ((2, 3), (3,)),
        ((1, 1), (5, 1, 1)),
        ((2, 3), ()),
        ((0, 2), (1, 2)),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_symbolic_tensors_have_the_shape_and_dtype_of_real_ones(x, alpha, dtype):
    expected = prelu(keras.ops.zeros(x, dtype), keras.ops.ones(alpha, dtype))
    for one, other in (
        (keras.KerasTensor(x, dtype), keras.KerasTensor(alpha, dtype)),
        (keras.KerasTensor(x, dtype), keras.ops.ones(alpha, dtype)),
        (keras.ops.zeros(x, dtype), keras.KerasTensor(alpha, dtype)),
    ):
        symbolic = prelu(one, other)
        assert isinstance(symbolic, keras.KerasTensor)
        assert tuple(symbolic.shape) == tuple(expected.shape)
        assert symbolic.dtype == keras.backend.standardize_dtype(expected.dtype) == dtype


def test_unknown_sizes_of_symbolic_tensors():
    assert prelu(keras.KerasTensor((None, 1, 3)), keras.KerasTensor((4, 1))).shape == (None, 4, 3)
    assert prelu(keras.KerasTensor((1, 3)), keras.KerasTensor((None, 1))).shape == (None, 3)


def test_as_a_node_of_a_functional_model(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, prelu(inputs, 0.25))
    x = np.float32([[-4.0, 0.0, 2.0]])
    np.testing.assert_array_equal(model.predict(x, verbose=0), [[-1.0, 0.0, 2.0]])
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "model.keras").predict(x, verbose=0), [[-1.0, 0.0, 2.0]]
    )


@pytest.mark.parametrize(
    "shapes", [((2, 3), (3,)), ((2, 1), (3,)), ((3,), (2, 1)), ((2, 3, 4), (3, 1)), ((), (3,))]
)
def test_gradients_have_the_operands_shapes(shapes):
    rng = np.random.default_rng(0)
    x, alpha = (np.asarray(rng.normal(size=shape), "float32") for shape in shapes)
    assert keras.ops.shape(prelu(x, alpha)) == np.broadcast_shapes(*shapes)
    assert [
        gradient.shape for gradient in gradients(lambda x, a: keras.ops.sum(prelu(x, a)), x, alpha)
    ] == list(shapes)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="transformations of JAX")
@every_operation
def test_jax_transformations(operation):
    import jax

    x, a = jax.numpy.array([[-2.0, 1.0], [3.0, -4.0]]), jax.numpy.array([0.5])
    np.testing.assert_array_equal(
        jax.vmap(lambda row: operation(row, a))(x), references.prelu(x, 0.5)
    )
    gradient = jax.grad(lambda a: jax.checkpoint(lambda a: operation(x, a).sum())(a))(a)
    np.testing.assert_array_equal(gradient, [-6.0])
    np.testing.assert_array_equal(
        jax.vmap(jax.grad(lambda row: operation(row, a).sum()))(x), [[0.5, 1.0], [1.0, 0.5]]
    )
    np.testing.assert_allclose(
        jax.jit(jax.hessian(lambda a: (operation(x, a) ** 3).sum()))(a),
        [[6 * 0.5 * (-8.0 - 64.0)]],
        rtol=1e-5,
    )
    with pytest.raises(TypeError, match=r"forward-mode.*custom_vjp"):
        jax.jvp(lambda a: operation(x, a), (a,), (a,))


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="transformations of PyTorch")
@pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)  # by PyTorch's forward mode itself
@every_operation
def test_torch_transformations(operation):
    import torch

    x, a = torch.tensor([[-2.0, 1.0], [3.0, -4.0]]), torch.tensor([0.5])
    np.testing.assert_array_equal(
        torch.func.vmap(lambda row: operation(row, a))(x), references.prelu(x, 0.5)
    )
    np.testing.assert_array_equal(torch.func.grad(lambda a: operation(x, a).sum())(a), [-6.0])
    per_sample = torch.func.vmap(
        torch.func.grad(lambda a, row: operation(row, a).sum()), in_dims=(None, 0)
    )(a, x)
    np.testing.assert_array_equal(per_sample, [[-2.0], [-4.0]])
    with pytest.raises(NotImplementedError, match="jvp"):
        torch.func.jvp(lambda a: operation(x, a), (a,), (a,))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="modes of TensorFlow")
@every_operation
def test_tensorflow_modes(operation):
    import tensorflow as tf

    x, a = tf.constant([[-2.0, 1.0], [3.0, -4.0]]), tf.Variable([0.5])
    for jit_compile in (False, True):
        with tf.GradientTape(persistent=True) as tape:
            y = tf.function(lambda: tf.reduce_sum(operation(x, a)), jit_compile=jit_compile)()
        np.testing.assert_array_equal(tape.gradient(y, a), [-6.0])
        np.testing.assert_array_equal(tape.gradient(y, a), [-6.0])
    np.testing.assert_array_equal(
        tf.vectorized_map(lambda row: operation(row, tf.constant([0.5])), x),
        references.prelu(x, 0.5),
    )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a graph of TensorFlow")
@every_operation
def test_large_tensors_in_a_tensorflow_graph(operation):
    """Where pieces are compiled into one kernel, once the graph has run twice; and where the number
    of positions varies."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    alpha = rng.uniform(0.1, 0.9, size=(1, 1, 8)).astype("float32")

    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 8)), tf.TensorSpec((1, 1, 8))])
    def run(x, a):
        with tf.GradientTape() as tape:
            tape.watch([x, a])
            y = operation(x, a)
        return y, *tape.gradient(y, [x, a], output_gradients=x)

    hints = [
        node.name
        for node in run.get_concrete_function().graph.as_graph_def().node
        if "_XlaCompile" in node.attr
    ]
    assert hints
    for batch in (2, 2, 2, 3):
        x = rng.normal(size=(batch, 32, 32, 8)).astype("float32")
        y, dx, dalpha = run(x, alpha)
        np.testing.assert_allclose(y, references.prelu(x, alpha), rtol=1e-6)
        np.testing.assert_allclose(dx, np.where(x > 0, x, alpha * x), rtol=1e-6)
        np.testing.assert_allclose(
            dalpha[0, 0], np.sum(np.minimum(x, 0.0) * x, axis=(0, 1, 2), dtype="float64"), rtol=1e-5
        )


def test_a_slope_of_zero_gives_the_zero_of_relu(optimized):
    """A compiler may drop what makes +0 of −0."""
    x = np.tile(np.float32([-3, -1e-30, 2]), (2, 20_000))
    slopes = PReLU(0.0, parameterization="identity")
    outputs = keras.Sequential([keras.Input(x.shape[1:]), slopes]).predict(x, verbose=0)
    np.testing.assert_array_equal(outputs, np.maximum(x, 0))
    assert not np.signbit(outputs).any()
