"""keras_prelu.graph.plan: running a model step by step gives what the model gives, and the plan
knows who reads, writes and calls what."""

import keras
import numpy as np
import pytest

from keras_prelu.graph.interpreter import run_plan
from keras_prelu.graph.plan import Slot, compile_plan
from keras_prelu.sites.prelu_layers import layers_at
from tests.helpers import models


def outputs_by_steps(model, inputs):
    tensors = [keras.ops.convert_to_tensor(array) for array in inputs]
    return [keras.ops.convert_to_numpy(output) for output in run_plan(compile_plan(model), tensors)]


@pytest.mark.parametrize("build", models.ALL)
def test_the_outputs_are_the_models(build):
    model = models.live_in(build())
    x = models.samples(model, 5)
    outputs = outputs_by_steps(model, keras.tree.flatten(x))
    for expected, actual in zip(
        keras.tree.flatten(model.predict(x, verbose=0)), outputs, strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_masks_reach_later_steps():
    model = models.live_in(models.sequence())
    padded, longer = np.array([[1, 2, 0, 0]]), np.array([[1, 2]])
    (a,), (b,) = outputs_by_steps(model, [padded]), outputs_by_steps(model, [longer])
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_paths_name_the_enclosing_models():
    plan = compile_plan(models.nested())
    assert [step.path for step in plan.steps][:3] == [
        "backbone/conv",
        "backbone/relu",
        "backbone/innermost/deep",
    ]
    shared = compile_plan(models.siamese())
    paths = [step.path for step in shared.steps]
    assert sorted(paths.count(path) for path in set(paths)) == [
        1,
        1,
        2,
        2,
    ]  # the tower's two layers are called twice


def test_the_plan_knows_readers_writers_and_calls():
    inputs = keras.Input((3,))
    shared = keras.layers.Dense(3, name="shared")
    first, second = shared(inputs), shared(shared(inputs))
    total = keras.layers.Add(name="total")([first, second, second])
    plan = compile_plan(keras.Model(inputs, [total, second]))
    steps = {(step.path, step.index): step for step in plan.steps}
    add = steps["total", 0]
    (source,), (first_slot, second_slot, _) = plan.inputs, add.inputs
    assert plan.writer(source) is None
    assert {plan.writer(slot).path for slot in add.inputs} == {"shared"}
    assert plan.readers(second_slot) == (add,)  # once, although it reads the slot twice
    assert plan.readers(Slot(99)) == plan.readers(plan.outputs[0]) == ()
    assert len(plan.readers(source)) == 2
    assert plan.sole_reader(first_slot) is add
    assert plan.sole_reader(second_slot) is None  # it is an output of the model too
    assert plan.sole_reader(source) is None
    assert [plan.is_output(slot) for slot in (first_slot, second_slot)] == [False, True]
    assert plan.call_count(shared) == 3
    assert plan.call_count(keras.layers.Dense(3)) == 0
    counts = plan.reader_counts()
    assert [counts[slot] for slot in (source, first_slot, second_slot)] == [2, 1, 2]
    counts.clear()
    assert plan.reader_counts()


def test_layers_are_found_by_path():
    model = models.nested()
    found = layers_at(model, ["backbone/innermost/deep", "backbone", "backbone/nosuch"])
    assert found["backbone/innermost/deep"] is model.get_layer("backbone").get_layer(
        "innermost"
    ).get_layer("deep")
    assert found["backbone"] is model.get_layer("backbone")
    assert found["backbone/nosuch"] is None
