"""keras_prelu.deployment.formats.onnx.rewriting: the rewriting of Relu, Neg, Relu, Mul and Add as
PRelu."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from keras_prelu.deployment.formats.onnx.rewriting import fuse_prelus, remove_idle_nodes


def prelu_graph(*, other=False, swapped=False, negated=False, read_twice=False):
    """Relu(x) + Relu(−x)·c; with another tensor's negative part, its operands swapped, c a Neg of a
    constant, or a part read again."""
    factor = np.array([-0.1, -0.2, 0.3], "float32")
    constants = [numpy_helper.from_array(-factor if negated else factor, "c")]
    nodes = [
        helper.make_node("Relu", ["x"], ["p"]),
        helper.make_node("Neg", ["z" if other else "x"], ["m"]),
        helper.make_node("Relu", ["m"], ["n"]),
    ]
    if negated:
        nodes.append(helper.make_node("Neg", ["c"], ["d"]))
    name = "d" if negated else "c"
    nodes.append(helper.make_node("Mul", [name, "n"] if swapped else ["n", name], ["q"]))
    nodes.append(helper.make_node("Add", ["q", "p"] if swapped else ["p", "q"], ["y"]))
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3])
        for name in ("x", "z", "y", "n")
    ]
    graph = helper.make_graph(nodes, "g", values[:2], values[2 : 4 if read_twice else 3], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def run(model):
    rng = np.random.default_rng(0)
    inputs = {name: rng.normal(size=(8, 3)).astype("float32") for name in ("x", "z")}
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("negated", [False, True])
def test_a_prelu_is_found_and_computes_the_same(swapped, negated):
    model = prelu_graph(swapped=swapped, negated=negated)
    before = run(model)
    assert fuse_prelus(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["PRelu"]
    assert len(model.graph.initializer) == 1
    np.testing.assert_allclose(run(model)[0], before[0], rtol=1e-6)


def test_what_is_no_prelu_stays():
    model = prelu_graph(other=True)
    assert fuse_prelus(model) == 0
    assert len(model.graph.node) == 5


def test_what_something_else_reads_stays():
    model = prelu_graph(read_twice=True)
    before = run(model)
    assert fuse_prelus(model) == 1
    assert sorted(node.op_type for node in model.graph.node) == ["Neg", "PRelu", "Relu"]
    for one, other in zip(run(model), before, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_casts_that_change_nothing_are_removed_and_others_stay():
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["b"], ["c"], to=TensorProto.INT32),
        helper.make_node("Cast", ["c"], ["d"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["d", "b"], ["e"]),
        helper.make_node("Cast", ["e"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [value(n, TensorProto.FLOAT, ["batch", 3]) for n in "xz"],
        [value("y", TensorProto.FLOAT, ["batch", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    before = run(model)
    model = onnx.shape_inference.infer_shapes(model)
    assert remove_idle_nodes(model) == 2
    assert [node.op_type for node in model.graph.node] == ["Cast", "Cast", "Add", "Cast"]
    np.testing.assert_array_equal(run(model)[0], before[0])


@pytest.mark.parametrize(
    ("shape", "idle"), [([-1, 3, 1], True), ([-1, 1, 3], False), ([4, 6], False)]
)
def test_reshapes_that_change_nothing_are_removed_and_others_stay(shape, idle):
    nodes = [helper.make_node("Reshape", ["x", "s"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 1])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *shape[1:]])]
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(np.array(shape, "int64"), "s")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    x = np.random.default_rng(0).normal(size=(8, 3, 1)).astype("float32")
    before = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    model = onnx.shape_inference.infer_shapes(model)
    assert remove_idle_nodes(model) == idle
    after = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(after, before)
