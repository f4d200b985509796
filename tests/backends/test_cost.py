"""What the layer costs, counted: bytes that are kept, temporary bytes, operations and kernels. Times
are no matter of tests."""

import keras
import numpy as np
import pytest

from keras_prelu import PReLU
from tests.helpers.versions import older
from tools.bench.memory import jax_bytes

L = keras.layers

pytestmark = pytest.mark.usefixtures("optimized")


def convolutions(x, activation):
    for stage, width in enumerate((32, 64, 128)):
        if stage:
            x = L.MaxPooling2D(2)(x)
        for _ in range(3):
            x = activation()(L.Conv2D(width, 3, padding="same")(x))
    return x


def normalized_convolutions(x, activation):
    for stage, width in enumerate((32, 64, 128)):
        if stage:
            x = L.MaxPooling2D(2)(x)
        for _ in range(3):
            x = L.BatchNormalization()(L.Conv2D(width, 3, padding="same", use_bias=False)(x))
            x = activation()(x)
    return x


def dense(x, activation):
    for _ in range(6):
        x = activation()(L.Dense(1024)(x))
    return x


def bytes_of(body, activation, shape, batch):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape)
    model = keras.Model(inputs, L.Dense(10)(L.Flatten()(body(inputs, activation))))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, *shape)).astype("float32")
    return jax_bytes(model, x, rng.integers(0, 10, batch))


@pytest.mark.jax  # which tells what it keeps and allocates
@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "shape", "batch", "kept_ratio", "temporary_ratio"),
    [
        (convolutions, (32, 32, 3), 256, 0.50, 0.95),
        (normalized_convolutions, (32, 32, 3), 256, 0.75, 1.20),
        (dense, (256,), 512, 0.70, 0.40),
    ],
)
def test_bytes_against_relu(body, shape, batch, kept_ratio, temporary_ratio):
    if older("jax", "0.8"):
        pytest.skip("the bytes are those of newer compilers")
    kept_with_relu, temporary_with_relu = bytes_of(body, L.ReLU, shape, batch)
    kept, temporary = bytes_of(body, PReLU, shape, batch)
    assert kept / kept_with_relu <= kept_ratio
    assert temporary / temporary_with_relu <= temporary_ratio


@pytest.mark.jax  # which tells what it keeps and allocates
def test_kernels_of_a_compiled_step():
    """Forward, backward and the slopes' sum: three kernels over the tensor, of which ReLU has
    two."""
    import jax

    layer = PReLU()
    layer.build((None, 32, 32, 16))
    variables, x = [layer.beta.value], np.zeros((8, 32, 32, 16), "float32")

    def step(variables, x, upstream):
        y, pullback = jax.vjp(
            lambda variables, x: layer.stateless_call(variables, [], x)[0], variables, x
        )
        return y, pullback(upstream)

    compiled = jax.jit(step).lower(variables, x, x).compile()
    entry = compiled.as_text().partition("ENTRY")[2]
    large = [
        line
        for line in entry.splitlines()
        if " fusion(" in line and any(s in line for s in ("[8,32,32,16]", "%y.", "%x."))
    ]
    assert len(large) <= 3, "\n".join(large)
    assert compiled.memory_analysis().temp_size_in_bytes < x.nbytes / 8


def _operations(layer, shape):
    """Operations of a TensorFlow graph that runs the layer forward and backward, without constants,
    inputs and bookkeeping."""
    import tensorflow as tf

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        return y, tape.gradient(y, [x, *layer.trainable_variables])

    graph = step.get_concrete_function(tf.TensorSpec((None, *shape))).graph
    bookkeeping = {
        "Const",
        "Placeholder",
        "Identity",
        "IdentityN",
        "ReadVariableOp",
        "NoOp",
        "Shape",
        "OnesLike",
        "ZerosLike",
        "Fill",
    }
    return [op for op in graph.get_operations() if op.type not in bookkeeping]


@pytest.mark.tensorflow
def test_operations_in_a_tensorflow_graph():
    """Those that write a large tensor: fewer than the stock layer has, and marked to be compiled
    into one kernel each way."""
    shape = (32, 32, 16)
    ours, stock = (
        [
            op
            for op in _operations(layer, shape)
            if any(tuple(output.shape[1:]) == shape for output in op.outputs)
        ]
        for layer in (PReLU(), L.PReLU(shared_axes=[1, 2]))
    )
    assert 4 <= len(ours) <= 9 < len(stock), ([op.type for op in ours], [op.type for op in stock])
    assert all("_XlaCompile" in op.node_def.attr for op in ours), [op.type for op in ours]


@pytest.mark.tensorflow
def test_small_tensors_are_not_clustered():
    assert not any("_XlaCompile" in op.node_def.attr for op in _operations(PReLU(), (4, 4, 16)))


@pytest.mark.skipif(
    keras.backend.backend() != "torch" or older("torch", "2.8") or older("keras", "3.15"),
    reason="torch.compile, where it follows Keras's own code",
)
@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # by torch.compile itself
@pytest.mark.parametrize(
    ("parameterization", "max_value"),
    [("exp", None), ("identity", 6), ("sigmoid", 6)],
)
def test_torch_compiles_the_layer_as_a_whole(parameterization, max_value):
    import torch

    layer = PReLU(parameterization=parameterization, max_value=max_value)
    layer.build((None, 4, 4, 3))
    x = torch.randn(2, 4, 4, 3, requires_grad=True)
    compiled = torch.compile(layer.call, fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad((compiled(x) ** 2).sum(), x)
    (expected,) = torch.autograd.grad((layer(x) ** 2).sum(), x)
    torch.testing.assert_close(found, expected)
