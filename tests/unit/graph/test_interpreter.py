"""keras_prelu.graph.interpreter: tensors are freed after their last reader, and no earlier."""

import weakref

import keras
import numpy as np

from keras_prelu.graph.interpreter import Liveness, iterate_steps, run_plan
from keras_prelu.graph.plan import compile_plan
from tests.helpers import models


def test_a_slot_is_released_with_its_last_reader():
    plan = compile_plan(models.residual())
    liveness, released = Liveness(plan), []
    for step in plan.steps:
        now = liveness.release(step)
        assert all(plan.readers(slot)[-1] is step for slot in now if plan.readers(slot))
        released += now
    slots = {*plan.inputs, *(slot for step in plan.steps for slot in step.outputs)}
    assert len(set(released)) == len(released)
    assert set(released) == slots - set(plan.outputs)


def test_what_nothing_reads_is_released_by_its_writer():
    inputs = keras.Input((2,))
    first, _ = keras.ops.split(inputs, 2, axis=-1)
    plan = compile_plan(keras.Model(inputs, first))
    assert Liveness(plan).release(plan.steps[0]) == [plan.inputs[0], plan.steps[0].outputs[1]]


def test_a_slot_that_one_step_reads_twice_is_released_once():
    inputs = keras.Input((2,))
    plan = compile_plan(keras.Model(inputs, keras.layers.Add()([inputs, inputs])))
    assert Liveness(plan).release(plan.steps[0]) == [plan.inputs[0]]


def test_tensors_are_freed_while_the_plan_runs():
    class Tensor:
        """What `run_step` below makes of every step."""

    plan = compile_plan(keras.Sequential([keras.Input((2,)), *map(keras.layers.Dense, [2] * 5)]))
    made = []

    def run_step(step, values):
        assert set(values) == set(step.inputs)
        outputs = [Tensor()]
        made.append(weakref.ref(outputs[0]))
        return outputs

    for executed in iterate_steps(plan, [Tensor()], run_step):
        assert len(executed.inputs) == len(executed.outputs) == 1
        del executed
        assert sum(reference() is not None for reference in made) <= 2


def test_outputs_come_in_the_models_order_inputs_among_them():
    inputs = keras.Input((2,), name="inputs")
    doubled = keras.layers.Rescaling(2.0)(inputs)
    plan = compile_plan(keras.Model(inputs, [doubled, inputs, doubled]))
    outputs = run_plan(plan, [keras.ops.convert_to_tensor(np.ones((1, 2), "float32"))])
    assert [float(keras.ops.max(output)) for output in outputs] == [2.0, 1.0, 2.0]
