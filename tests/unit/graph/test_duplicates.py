"""keras_prelu.graph.duplicates: copies of layers that no configuration describes."""

import functools
import threading
import weakref
from collections import OrderedDict

import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812
from keras import ops

import keras_prelu as kp
from keras_prelu.graph.duplicates import duplicate

pytestmark = pytest.mark.backends

X = np.random.default_rng(0).normal(size=(16, 5)).astype("float32")
Y = np.ones((16, 3), "float32")


class Holder:
    """An object of the user's that is no layer."""

    __slots__ = ("layers", "name")

    def __init__(self, layers):
        self.layers = layers
        self.name = "holder"


class Everywhere(keras.Model):
    """Holds layers and variables in all the ways that code does, and has no get_config()."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.blocks = [L.Dense(4, activation="relu"), L.Dense(4)]
        self.by_name = {"dropout": L.Dropout(0.5), "norm": L.BatchNormalization()}
        self.sequential = keras.Sequential([keras.Input((4,)), L.Dense(3), L.ReLU()])
        tensor = keras.Input((3,))
        self.graph = keras.Model(tensor, L.Add()([tensor, L.Dense(3)(tensor)]))
        self.scale = self.add_weight(shape=(3,), initializer="ones", name="scale")
        captured = L.Dense(3)
        self.captured = captured
        self.closure = lambda x: captured(x) * self.scale
        self.partial = functools.partial(self.applied, factor=2.0)
        self.holder = Holder((self.blocks[1],))
        self.seen = keras.metrics.Mean(name="seen")
        self.lock = threading.Lock()
        self.registry = {id: captured}

    def applied(self, x, factor):
        return self.holder.layers[0](x) * factor

    def call(self, x, training=False):
        for block in self.blocks:
            x = ops.relu(block(x))
        x = self.partial(x)
        x = self.by_name["norm"](self.by_name["dropout"](x, training=training), training=training)
        x = self.graph(self.function(self.sequential(x)))
        return self.closure(self.registry[id](x))


def model():
    keras.utils.set_random_seed(0)
    built = Everywhere(lambda x: 2 * x)
    built(X)
    return built


def outputs(each):
    return ops.convert_to_numpy(each(X))


def make_useless(each):
    for weight in each.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            weight.assign(np.full(weight.shape, np.nan))
    assert np.isnan(outputs(each)).any()


def test_a_duplicate_computes_the_same_and_shares_no_variable():
    original = model()
    copy = duplicate(original)
    assert type(copy) is Everywhere
    np.testing.assert_array_equal(outputs(copy), outputs(original))
    assert [each.path for each in copy.variables] == [each.path for each in original.variables]
    assert not {id(each) for each in copy.variables} & {id(each) for each in original.variables}
    assert copy.function is original.function
    assert copy.holder.layers[0] is copy.blocks[1]
    assert copy.partial.func.__self__ is copy


def test_a_duplicate_reads_none_of_the_variables_of_its_original():
    original = model()
    copy = duplicate(original)
    expected = outputs(original)
    make_useless(original)
    np.testing.assert_array_equal(outputs(copy), expected)


def test_a_duplicate_is_trained_apart():
    original = model()
    original.compile("adam", "mse")
    original.fit(X, Y, verbose=0)
    expected = outputs(original)
    copy = duplicate(original)
    copy.fit(X, Y, epochs=2, verbose=0)  # With the optimizer's state, which is copied too.
    np.testing.assert_array_equal(outputs(original), expected)
    assert np.abs(outputs(copy) - expected).max() > 1e-4
    assert int(copy.optimizer.iterations) == 3
    assert int(original.optimizer.iterations) == 1
    original.fit(X, Y, verbose=0)


def test_a_duplicate_of_a_duplicate_and_of_a_converted_model():
    original = model()
    converted = kp.convert(duplicate(original), alpha=0.3, rescale="none")
    copy = duplicate(converted)
    assert type(copy) is type(converted)
    np.testing.assert_array_equal(outputs(copy), outputs(converted))
    assert np.abs(outputs(copy) - outputs(original)).max() > 1e-4
    make_useless(converted)
    assert np.isfinite(outputs(copy)).all()


class Ordered(keras.Model):
    """Keeps its layers in an OrderedDict, which Keras replaces by a class of its own."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.blocks = OrderedDict(first=L.Dense(4), second=L.Dense(3))

    def call(self, x):
        for block in self.blocks.values():
            x = block(x)
        return self.function(x)


def test_a_duplicate_keeps_the_items_and_the_order_of_an_ordered_dict():
    original = Ordered(ops.relu)
    original(X)
    copy = duplicate(original)
    assert list(copy.blocks) == ["first", "second"]
    assert type(copy.blocks) is type(original.blocks)
    np.testing.assert_array_equal(outputs(copy), outputs(original))
    make_useless(original)
    assert np.isfinite(outputs(copy)).all()


class Referring(keras.Model):
    """Refers weakly to a layer and a method before it holds the layer itself."""

    def __init__(self, outside):
        super().__init__()
        dense = L.Dense(3)
        self.reference = weakref.ref(dense)
        self.references = (self.reference, weakref.ref(outside))
        self.method = weakref.WeakMethod(dense.call)
        self.dense = dense

    def call(self, x):
        return self.reference()(x)


def test_weak_references_refer_to_the_copies_also_if_they_are_met_first():
    outside = L.Dense(2)
    original = Referring(outside)
    original(X)
    copy = duplicate(original)
    assert copy.reference() is copy.dense
    assert copy.references[0]() is copy.dense
    assert copy.references[1]() is outside
    assert copy.method().__self__ is copy.dense
    assert copy.dense is not original.dense
    expected = outputs(original)
    make_useless(original)
    np.testing.assert_array_equal(outputs(copy), expected)


class Hidden:
    """Hides a layer where Python's copy protocols do not look."""

    def __init__(self, layer):
        self.generator = (layer for _ in range(3))


class WithHidden(keras.Model):
    def __init__(self, function):
        super().__init__()
        self.dense = L.Dense(3)
        self.function = function
        self.hidden = Hidden(self.dense)

    def call(self, x):
        return self.dense(x)


def test_what_can_not_be_copied_is_refused_by_name():
    original = WithHidden(ops.relu)
    original(X)
    with pytest.raises(kp.errors.ConversionError, match="`generator` holds an object"):
        duplicate(original)
