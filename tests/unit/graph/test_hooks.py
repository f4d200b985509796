"""keras_prelu.graph.hooks: calls are heard and replaced, and every attribute is restored."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

from keras_prelu.graph.hooks import HookTarget, attributes_set, hook_calls, set_target


class Pair(NamedTuple):
    first: Any
    second: Any


class Doubling:
    """An object whose call is found on its class."""

    def call(self, value, *, times=1):
        return 2 * value * times


X = np.ones((1, 3), "float32")


def test_a_hook_hears_each_call_with_its_arguments():
    layer, calls = keras.layers.Dense(2), []
    with hook_calls([HookTarget(layer)], calls.append):
        outputs = layer(X)
        layer(2 * X)
    layer(X)
    assert [call.target.owner for call in calls] == [layer, layer]
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(calls[0].inputs), X)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(calls[0].outputs), keras.ops.convert_to_numpy(outputs)
    )


def test_inputs_are_the_first_tensor_wherever_it_is_passed():
    heard, owner = [], Doubling()
    with hook_calls([HookTarget(owner)], heard.append):
        owner.call(value=X, times=3)
    assert heard[0].args == ()
    assert heard[0].inputs is X


def test_what_a_hook_returns_replaces_the_outputs():
    owner = Doubling()
    with hook_calls([HookTarget(owner)], lambda call: call.outputs + 1):
        assert owner.call(10) == 21
    with hook_calls([HookTarget(owner)], lambda call: None):
        assert owner.call(10) == 20


def test_any_attribute_can_be_hooked():
    layer, heard = keras.layers.Dense(2, activation="relu"), []
    with hook_calls([HookTarget(layer, "activation")], heard.append):
        layer(X)
    assert len(heard) == 1
    assert layer.activation is keras.activations.relu


def test_a_later_hook_gets_what_earlier_ones_returned():
    owner = Doubling()
    outer, inner = (
        hook_calls([HookTarget(owner)], lambda call: call.outputs + 1),
        hook_calls([HookTarget(owner)], lambda call: call.outputs * 100),
    )
    with outer, inner:
        assert owner.call(1) == 300


def test_a_target_given_twice_is_hooked_once():
    owner, heard = Doubling(), []
    with hook_calls([HookTarget(owner), HookTarget(owner)], heard.append):
        owner.call(1)
    assert len(heard) == 1


def test_attributes_are_restored_after_an_exception():
    layer = keras.layers.Dense(2)

    def fail(call):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), hook_calls([HookTarget(layer)], fail):
        layer(X)
    assert "call" not in vars(layer)
    layer(X)


def test_targets_before_one_that_has_no_such_attribute_are_restored():
    owner = Doubling()
    targets = [HookTarget(owner), HookTarget(owner, "nosuch")]
    with pytest.raises(AttributeError), hook_calls(targets, print):
        pass
    assert not vars(owner)


def test_set_attribute_restores_a_value_of_the_instance():
    owner = Doubling()
    owner.call = abs
    restore = set_target(HookTarget(owner), len)
    assert owner.call is len
    restore()
    assert owner.call is abs


def test_attributes_set_gives_all_targets_one_value():
    layers = [keras.layers.Dense(2, activation="relu") for _ in range(2)]
    with attributes_set([HookTarget(layer, "activation") for layer in layers], abs):
        assert all(layer.activation is abs for layer in layers)
    assert all(layer.activation is keras.activations.relu for layer in layers)


def test_layers_track_nothing_new_while_they_are_hooked():
    layer = keras.layers.Dense(2)
    layer(X)
    before = [variable.path for variable in layer.variables]
    with hook_calls([HookTarget(layer)], lambda call: None):
        layer(X)
        assert [variable.path for variable in layer.variables] == before


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ([abs, len], (1,)),
        ({"a": len}, ("a",)),
        ((abs, len), (1,)),
        ([{"a": (abs, [len])}], (0, "a", 1, 0)),
        (((len,),), (0, 0)),
        (Pair(abs, len), (1,)),
    ],
)
def test_functions_in_collections_are_hooked(value, keys):
    layer = keras.layers.Layer()
    layer.functions = value
    layer.built = True
    target = HookTarget(layer, "functions", keys)
    container, lengths = layer.functions, []
    with hook_calls([target], lambda call: lengths.append(call.outputs)):
        assert target.value("abc") == 3
        assert type(layer.functions) is type(container)
    assert lengths == [3]
    assert target.value is len
    assert layer.functions is container


def test_targets_in_one_tuple_are_restored():
    owner = Doubling()
    owner.functions = functions = (abs, len)
    targets = [HookTarget(owner, "functions", (index,)) for index in (0, 1)]
    with attributes_set(targets, max):
        assert owner.functions == (max, max)
    assert owner.functions is functions
