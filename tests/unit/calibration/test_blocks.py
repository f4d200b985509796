"""keras_prelu.calibration.blocks: where a model can be cut, and what each part may train."""

import itertools

import keras
import pytest

import keras_prelu as kp
from keras_prelu.calibration.blocks import split_into_blocks
from keras_prelu.graph.plan import compile_plan
from tests.helpers import models

L = keras.layers


def blocks_of(model):
    return split_into_blocks(compile_plan(kp.convert(model, alpha=0.25, rescale="none")))


def names(block):
    return {variable.path.split("/")[-2] for variable in block.variables}


def test_inverted_residuals_are_cut_at_their_linear_ends():
    blocks = blocks_of(models.inverted_residuals())
    assert [block.path for block in blocks] == ["project_0_bn", "logits"]
    assert [len(block.inputs) for block in blocks] == [1, 1]
    assert names(blocks[1]) == {
        "logits",
        *(
            f"{layer}_1{suffix}"
            for layer in ("expand", "depthwise", "project")
            for suffix in ("", "_bn")
        ),
    }


def test_every_step_is_in_one_block_in_order():
    plan = compile_plan(kp.convert(models.inverted_residuals(), alpha=0.25, rescale="none"))
    steps = [step for block in split_into_blocks(plan) for step in block.steps]
    assert [id(step) for step in steps] == [id(step) for step in plan.steps]


def test_a_shortcut_behind_a_rectifier_is_no_place_to_cut():
    # The sums of such a network hold the negative parts of all shortcuts so far.
    (block,) = blocks_of(models.residual())
    assert block.path.startswith("dense")


def test_a_plain_network_is_cut_before_every_second_rectifier():
    layers = [L.Dense(4, "relu", name=f"dense_{number}") for number in range(5)]
    model = keras.Sequential([keras.Input((4,)), *layers, L.Dense(2, name="last")])
    assert [block.path for block in blocks_of(model)] == ["dense_2", "last"]
    assert [names(block) for block in blocks_of(model)] == [
        {"dense_0", "dense_1", "dense_2"},
        {"dense_3", "dense_4", "last"},
    ]


def test_slopes_statistics_frozen_and_shared_weights_are_not_trained():
    shared, frozen = L.Dense(4, name="shared"), L.Dense(4, name="frozen", trainable=False)
    inputs = keras.Input((4,))
    x = L.BatchNormalization(name="norm")(L.ReLU()(shared(inputs)))
    x = L.Dense(4, name="free")(L.ReLU()(frozen(x)))
    x = L.Dense(4, name="last")(L.ReLU()(L.ReLU()(shared(x))))
    blocks = blocks_of(keras.Model(inputs, x))
    assert [block.path for block in blocks] == ["free", "last"]
    assert [names(block) for block in blocks] == [{"norm", "free"}, {"last"}]
    assert {variable.name for variable in blocks[0].variables} == {
        "gamma",
        "beta",
        "kernel",
        "bias",
    }
    assert not any(kp.layers.is_slope(variable) for variable in blocks[0].variables)


def test_a_tensor_with_a_mask_is_no_place_to_cut():
    inputs = keras.Input((6,), dtype="int32")
    x = L.Embedding(9, 4, mask_zero=True)(inputs)
    for number in range(4):
        x = L.Dense(4, "relu", name=f"dense_{number}")(x)
    model = keras.Model(inputs, L.Dense(2, name="last")(L.LSTM(3, name="lstm")(x)))
    assert [block.path for block in blocks_of(model)] == ["last"]


@pytest.mark.parametrize("build", models.ALL)
def test_each_block_reads_what_the_one_before_it_writes(build):
    plan = compile_plan(kp.convert(models.live_in(build()), alpha=0.25, rescale="none"))
    blocks = split_into_blocks(plan)
    assert blocks[0].inputs == plan.inputs
    assert blocks[-1].outputs == plan.outputs
    for earlier, later in itertools.pairwise(blocks):
        assert earlier.outputs == later.inputs
    for block in blocks:
        known = set(block.inputs)
        for step in block.steps:
            assert known.issuperset(step.inputs)
            known.update(step.outputs)
