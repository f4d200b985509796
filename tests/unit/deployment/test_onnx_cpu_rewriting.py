"""keras_prelu.deployment.formats.onnx.cpu_rewriting: activations of images as convolutions, with the same
function."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from keras_prelu.deployment.formats.onnx.cpu_rewriting import use_convolutions

SLOPES = np.array([0.0, 0.25, 1.0], "float32").reshape(3, 1, 1)


def graph_of(
    activation,
    *constants,
    shape=("batch", 3, 4, 5),
    cap=None,
    read_twice=False,
    kind=TensorProto.FLOAT,
    opset=15,
):
    """y = min(activation(x), cap), without a cap y = activation(x); the activation's own result is
    read too where it is read twice."""
    constants = list(constants)
    nodes = [
        helper.make_node(
            *activation[:1],
            [*activation[1], *(tensor.name for tensor in constants)],
            ["a"],
            **activation[2],
        )
    ]
    if cap is not None:
        constants.append(numpy_helper.from_array(np.array(cap, "float32"), "cap"))
        nodes.append(helper.make_node("Min", ["cap", "a"], ["y"]))
    names = ["a"] if cap is None else ["y", "a"] if read_twice else ["y"]
    inputs, *outputs = (helper.make_tensor_value_info(name, kind, shape) for name in ["x", *names])
    graph = helper.make_graph(nodes, "g", [inputs], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def prelu(slopes=SLOPES, **arguments):
    return graph_of(("PRelu", ["x"], {}), numpy_helper.from_array(slopes, "slopes"), **arguments)


def run(model):
    value = model.graph.input[0].type.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(value.elem_type)
    x = (
        np.random.default_rng(0)
        .normal(0, 2, [axis.dim_value or 8 for axis in value.shape.dim])
        .astype(dtype)
    )
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})


def kinds(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    "model",
    [
        prelu(),
        prelu(SLOPES[None]),
        prelu(np.full((1, 1, 1), 0.3, "float32")),
        graph_of(("LeakyRelu", ["x"], {"alpha": 0.3})),
    ],
    ids=["channels", "rank 4", "shared", "LeakyRelu"],
)
def test_activations_become_convolutions_of_the_same_function(model):
    before = run(model)
    assert use_convolutions(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert kinds(model) == ["Conv", "Relu", "Conv", "Add"]
    np.testing.assert_allclose(run(model)[0], before[0], rtol=1e-6)


def test_a_cap_goes_before():
    model = prelu(cap=1.5)
    before = run(model)
    assert before[0].max() == 1.5
    assert use_convolutions(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert kinds(model) == ["Clip", "Conv", "Relu", "Conv", "Add"]
    np.testing.assert_allclose(run(model)[0], before[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "after"), [({"read_twice": True}, "Min"), ({"opset": 10}, "Min")]
)
def test_a_cap_stays_behind_where_what_is_not_capped_is_read_and_where_clips_have_two_ends(
    arguments, after
):
    model = prelu(cap=1.5, **arguments)
    before = run(model) if arguments.get("opset", 15) > 10 else None
    assert use_convolutions(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert kinds(model) == ["Conv", "Relu", "Conv", "Add", after]
    for one, other in zip(run(model) if before else [], before or [], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        prelu(SLOPES - 0.1),
        prelu(SLOPES + 0.1),
        prelu(SLOPES[..., 0], shape=("batch", 3, 4)),
        prelu(np.full((4, 5), 0.3, "float32")),
        prelu(SLOPES.astype("float16"), kind=TensorProto.FLOAT16),
        graph_of(("LeakyRelu", ["x"], {"alpha": 0.3}), shape=("batch", "channels", 4, 5)),
        graph_of(("Relu", ["x"], {})),
    ],
    ids=["negative", "above 1", "sequence", "each element", "float16", "open channels", "Relu"],
)
def test_what_has_another_form_stays(model):
    before = model.SerializeToString()
    assert use_convolutions(model) == 0
    assert model.SerializeToString() == before


def test_a_capped_slope_below_zero_stays_capped_after():
    """min(−0.5·x, 1) of x below −2 is 1: a cap before it would be lost."""
    model = prelu(SLOPES - 0.5, cap=1.0)
    assert use_convolutions(model) == 0
    assert kinds(model) == ["PRelu", "Min"]


RNG = np.random.default_rng(1)
CONSTANTS = {
    "k": RNG.normal(size=(3, 2, 3, 3)).astype("float32"),
    "b": RNG.normal(size=3).astype("float32"),
    "s": RNG.uniform(0.5, 2, 3).astype("float32"),
    "v": RNG.uniform(0.5, 2, 3).astype("float32"),
    "c": RNG.normal(size=(1, 3, 1, 1)).astype("float32"),
    "c1": RNG.normal(size=3).astype("float32"),
    "small": np.float32([0.0, 0.25, 0.5]).reshape(3, 1, 1),
    "large": np.float32([0.0, 0.5, 1.0]).reshape(3, 1, 1),
    "cap": np.array(1.5, "float32"),
    "zero": np.array(0, "float32"),
    "wide": RNG.uniform(0.5, 2, 20).astype("float32"),
}
CONVOLUTION = ("Conv", ["x", "k"], "conv")
SOURCES = {
    "convolution": [CONVOLUTION],
    "convolution with bias": [("Conv", ["x", "k", "b"], "conv")],
    "normalization": [CONVOLUTION, ("BatchNormalization", ["conv", "s", "b", "b", "v"], "bn")],
    "product and sum": [CONVOLUTION, ("Mul", ["conv", "c"], "m"), ("Add", ["c", "m"], "sum")],
}


def network(nodes, output="y", opset=15, shape=("batch", 3, 4, 5)):
    """Nodes (kind, inputs, output, and attributes if any) of which the last makes y, applied to images
    of two channels."""
    graph = helper.make_graph(
        [
            helper.make_node(kind, inputs, [name], **dict(*attributes))
            for kind, inputs, name, *attributes in nodes
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("batch", 2, 6, 7))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(values, name) for name, values in CONSTANTS.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def check_rewriting(model, expected, rewritten=1):
    before = run(model)
    assert use_convolutions(model) == rewritten
    onnx.checker.check_model(model, full_check=True)
    assert kinds(model) == expected
    np.testing.assert_allclose(run(model)[0], before[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("slopes", ["small", "large"])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_cap_after_a_convolution_becomes_a_relu_of_what_is_below_it(source, slopes):
    activation = [("PRelu", [source[-1][2], slopes], "p"), ("Min", ["p", "cap"], "y")]
    own = [kind for kind, _, _ in source]
    check_rewriting(network(source + activation), [*own, "Relu", "Conv", "Relu", "Conv", "Add"])


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_without_a_cap_one_convolution_is_scaled(source):
    own = [kind for kind, _, _ in source]
    model = network([*source, ("PRelu", [source[-1][2], "small"], "y")])
    check_rewriting(model, [*own, "Relu", "Conv", "Add"])


def test_slopes_near_one_are_not_divided_by_what_is_left():
    model = network([CONVOLUTION, ("PRelu", ["conv", "large"], "y")])
    check_rewriting(model, ["Conv", "Conv", "Relu", "Conv", "Add"])


BASE = [CONVOLUTION, ("Sigmoid", ["conv"], "z")]
AFFINE = {
    "normalization": [("BatchNormalization", ["z", "s", "b", "c1", "v"], "t")],
    "product and sum": [("Mul", ["z", "c"], "m"), ("Add", ["c", "m"], "t")],
    "sum and product": [("Add", ["z", "c"], "m"), ("Mul", ["m", "c"], "t")],
    "all": [
        ("Mul", ["c", "z"], "m"),
        ("BatchNormalization", ["m", "s", "b", "c1", "v"], "n"),
        ("Add", ["n", "c"], "t"),
    ],
}


@pytest.mark.parametrize("source", AFFINE.values(), ids=AFFINE)
def test_a_normalization_that_no_convolution_precedes_becomes_a_part_of_the_new_ones(source):
    own = ["Conv", "Sigmoid"]
    for slopes in ("small", "large"):
        activation = ("PRelu", ["t", slopes], "p")
        check_rewriting(
            network([*BASE, *source, activation], output="p"), [*own, "Conv", "Conv", "Relu", "Add"]
        )
        check_rewriting(
            network([*BASE, *source, activation, ("Min", ["p", "cap"], "y")]),
            [*own, "Conv", "Relu", "Conv", "Relu", "Conv", "Add"],
        )
    leaky = network([*BASE, *source, ("LeakyRelu", ["t"], "p"), ("Min", ["p", "cap"], "y")])
    check_rewriting(leaky, [*own, "Conv", "Relu", "Conv", "Relu", "Conv", "Add"])


@pytest.mark.parametrize("kind", ["Relu", "LeakyRelu", "Clip"])
@pytest.mark.parametrize("source", AFFINE.values(), ids=AFFINE)
def test_a_normalization_before_what_is_fused_becomes_a_convolution(source, kind):
    limits = ["zero", "cap"] if kind == "Clip" else []
    model = network([*BASE, *source, (kind, ["t", *limits], "y")])
    check_rewriting(model, ["Conv", "Sigmoid", "Conv", kind], rewritten=0)


def test_a_normalization_of_anything_but_images_stays():
    base = [CONVOLUTION, ("Flatten", ["conv"], "z", {"axis": 2})]
    source = [("BatchNormalization", ["z", "wide", "wide", "wide", "wide"], "t")]
    model = network([*base, *source, ("Relu", ["t"], "y")], shape=("all", 20))
    check_rewriting(model, ["Conv", "Flatten", "BatchNormalization", "Relu"], rewritten=0)


def test_a_normalization_that_others_read_stays():
    mul, add = AFFINE["product and sum"]
    model = network([*BASE, mul, add, ("PRelu", ["t", "small"], "p"), ("Add", ["p", "t"], "y")])
    own = ["Conv", "Sigmoid", "Mul", "Add"]
    check_rewriting(model, [*own, "Conv", "Relu", "Conv", "Add", "Add"])
    model = network([*BASE, mul, add, ("PRelu", ["t", "small"], "p"), ("Add", ["p", "m"], "y")])
    check_rewriting(model, ["Conv", "Sigmoid", "Mul", "Conv", "Conv", "Relu", "Add", "Add"])


def test_an_image_of_one_channel_that_a_product_makes_several_of_stays():
    sources = [CONVOLUTION, ("ReduceMax", ["conv"], "z", {"axes": [1]}), ("Mul", ["z", "c"], "t")]
    check_rewriting(
        network([*sources, ("PRelu", ["t", "small"], "y")]),
        ["Conv", "ReduceMax", "Mul", "Relu", "Conv", "Add"],
    )


@pytest.mark.parametrize(
    "source",
    [
        [CONVOLUTION, ("Add", ["conv", "conv"], "sum")],
        [CONVOLUTION, ("Conv", ["x", "k", "b"], "other"), ("Add", ["conv", "other"], "sum")],
        [CONVOLUTION, ("Sigmoid", ["conv"], "sum")],
    ],
    ids=["read twice", "residual", "not affine"],
)
def test_what_constants_can_not_scale_gets_two_convolutions(source):
    own = [kind for kind, _, _ in source]
    model = network([*source, ("PRelu", ["sum", "small"], "p"), ("Min", ["p", "cap"], "y")])
    check_rewriting(model, [*own, "Clip", "Conv", "Relu", "Conv", "Add"])


def test_a_convolution_that_others_read_stays_as_it_is():
    model = network([CONVOLUTION, ("PRelu", ["conv", "small"], "p"), ("Mul", ["p", "conv"], "y")])
    check_rewriting(model, ["Conv", "Conv", "Relu", "Conv", "Add", "Mul"])


def test_constants_that_others_read_stay_as_they_are():
    other = [("Conv", ["x", "k"], "same"), ("Add", ["p", "same"], "y")]
    model = network([CONVOLUTION, ("PRelu", ["conv", "small"], "p"), *other])
    check_rewriting(model, ["Conv", "Relu", "Conv", "Add", "Conv", "Add"])


def test_one_slope_directly_after_a_convolution_stays():
    """onnxruntime fuses the two, but neither a sum and a LeakyRelu nor one with a cap."""
    model = network([CONVOLUTION, ("LeakyRelu", ["conv"], "y")])
    assert use_convolutions(model) == 0
    model = network(
        [
            CONVOLUTION,
            ("Conv", ["x", "k"], "o"),
            ("Add", ["conv", "o"], "a"),
            ("LeakyRelu", ["a"], "y"),
        ]
    )
    check_rewriting(model, ["Conv", "Conv", "Add", "Conv", "Relu", "Conv", "Add"])
    model = network([CONVOLUTION, ("LeakyRelu", ["conv"], "p"), ("Min", ["p", "cap"], "y")])
    check_rewriting(model, ["Conv", "Relu", "Conv", "Relu", "Conv", "Add"])
