"""keras_prelu.graph.plan: running a model step by step gives what the model gives."""

import keras
import numpy as np
import pytest

from keras_prelu.graph.plan import compile_program, run
from keras_prelu.sites.prelu_layers import layer_at
from tests.helpers import models


def outputs_by_steps(model, inputs):
    program = compile_program(model)
    values = {}
    for step, _, written in run(program, [keras.ops.convert_to_tensor(array) for array in inputs]):
        values.update(zip(step.outputs, written, strict=True))
    return program, [keras.ops.convert_to_numpy(values[slot]) for slot in program.outputs]


@pytest.mark.parametrize("build", models.ALL)
def test_the_outputs_are_the_models(build):
    model = models.live_in(build())
    x = models.samples(model, 5)
    _, outputs = outputs_by_steps(model, keras.tree.flatten(x))
    for expected, actual in zip(
        keras.tree.flatten(model.predict(x, verbose=0)), outputs, strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_masks_reach_later_steps():
    model = models.live_in(models.sequence())
    padded, longer = np.array([[1, 2, 0, 0]]), np.array([[1, 2]])
    (_, (a,)), (_, (b,)) = outputs_by_steps(model, [padded]), outputs_by_steps(model, [longer])
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_paths_name_the_enclosing_models():
    program = compile_program(models.nested())
    assert [step.path for step in program.steps][:3] == [
        "backbone/conv",
        "backbone/relu",
        "backbone/innermost/deep",
    ]
    shared = compile_program(models.siamese())
    paths = [step.path for step in shared.steps]
    assert sorted(paths.count(path) for path in set(paths)) == [
        1,
        1,
        2,
        2,
    ]  # the tower's two layers are called twice


def test_layers_are_found_by_path():
    model = models.nested()
    assert layer_at(model, "backbone/innermost/deep") is model.get_layer("backbone").get_layer(
        "innermost"
    ).get_layer("deep")
    assert layer_at(model, "backbone") is model.get_layer("backbone")
    assert layer_at(model, "backbone/nosuch") is None
