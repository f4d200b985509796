"""keras_prelu.diagnostics.dead_units: dead units, counted exactly (claim 2)."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics import channel_influences, dead_units, signal_by_depth
from tests.helpers import custom, models
from tests.helpers.gradients import gradients

L = keras.layers


def with_dead_units(build, name, dead):
    model = models.live_in(build())
    layer = kp.sites.prelu_layers.layers_at(model, [name])[name]
    kernel, bias = layer.get_weights()
    bias[:dead] = -1e3
    layer.set_weights([kernel, bias])
    return model


@pytest.mark.parametrize("converted", [False, True])
@pytest.mark.parametrize(
    ("build", "layer", "dead", "paths", "sizes"),
    [
        (models.mlp, "first", 3, ("first", "first_prelu"), [8, 8]),
        (models.nested, "backbone/conv", 5, ("backbone/relu", "backbone/relu"), [8, 4]),
    ],
    ids=["inline", "nested"],
)
def test_before_and_after_conversion(build, layer, dead, paths, sizes, converted):
    model = with_dead_units(build, layer, dead)
    x = models.samples(model, 200)
    if converted:
        model = kp.convert(model, rescale="none")
    sites = dead_units(model, x, batch_size=64)
    assert [site.units for site in sites] == sizes
    assert (sites[0].path, sites[0].dead) == (paths[converted], dead)


def test_the_count_equals_one_by_hand():
    model = keras.Sequential([keras.Input((2,)), L.Dense(200), L.ReLU()])
    x = models.samples(model, 5)
    kernel, bias = models.live_in(model).layers[0].get_weights()
    (site,) = dead_units(model, x)
    assert site.dead == int(np.sum(np.all(x @ kernel + bias <= 0, axis=0)))
    assert 0 < site.dead < 200


def test_a_dead_relu_unit_gets_no_gradient_and_a_prelu_unit_alpha_times_it():
    x = np.float32([[-1.0], [-2.0]])
    for layer, expected in ((L.ReLU(), 0.0), (kp.PReLU(0.25), 0.25)):
        layer(x)
        (gradient,) = gradients(lambda x, layer=layer: keras.ops.sum(layer(x)), x)
        np.testing.assert_array_equal(gradient, np.full((2, 1), expected, "float32"))


@pytest.mark.parametrize("batch_size", [64, 1000])
def test_nearly_dead_units_and_sides_that_carry_nothing(batch_size):
    """Units that are active on 0, 1, 10, 11 and all of 1000 samples; slopes 0, 0.01, 1, 0.25 and
    0.25."""
    thresholds = np.float32([1000, 999, 990, 989, -1])
    model = keras.Sequential(
        [keras.Input((5,)), kp.PReLU([0.0, 0.01, 1.0, 0.25, 0.25], parameterization="identity")]
    )
    x = (np.arange(1000, dtype="float32")[:, None] - thresholds + 0.5) / 1000
    x[:, 0] -= 0.001
    (site,) = dead_units(model, x, batch_size=batch_size)
    assert (site.units, site.dead, site.nearly_dead) == (5, 1, 2)
    assert site.negative == pytest.approx(np.mean(x <= 0))
    y = np.where(x > 0, x, x * [0.0, 0.01, 1.0, 0.25, 0.25])
    shares = np.square(np.minimum(y, 0)).sum(axis=0) / np.maximum(np.square(y).sum(axis=0), 1e-30)
    assert site.one_sided == np.sum(shares <= 0.001) == 2
    relu = keras.Sequential([keras.Input((5,)), L.ReLU()])
    assert dead_units(relu, x)[0].one_sided is None


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_channels_of_images_in_both_layouts(data_format):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3, 4, 5)).astype("float32")
    x[:, 1] = -np.abs(x[:, 1])
    layer = kp.PReLU(
        np.reshape([0.0, 0.5, 0.5], (3, 1, 1)),
        parameterization="identity",
        data_format="channels_first",
        shared_axes=(2, 3),
    )
    if data_format == "channels_last":
        x, layer = np.moveaxis(x, 1, -1), kp.PReLU([0.0, 0.5, 0.5], parameterization="identity")
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    (site,) = dead_units(model, x)
    assert (site.units, site.dead, site.one_sided) == (3, 1, 1)
    assert site.negative == pytest.approx(np.mean(x <= 0))


class Twice(L.Layer):
    """One rectifier on two tensors of the same width: a unit is dead if it is in both."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.relu = L.ReLU()

    def call(self, inputs):
        return self.relu(inputs) + self.relu(-keras.ops.flip(inputs, axis=1))


def test_a_unit_is_active_if_it_is_in_any_call():
    x = np.float32(
        [[-1, 2, 1], [-2, -1, 0], [-3, -2, 3]]
    )  # reversed and negated: [-1, -2, 1], [0, 1, 2], [-3, 2, 3]
    (site,) = dead_units(keras.Sequential([keras.Input((3,)), Twice()]), x, batch_size=2)
    assert (site.path, site.units, site.dead, site.negative) == (
        "twice/relu",
        3,
        1,
        pytest.approx(10 / 18),
    )


@pytest.mark.parametrize("converted", [False, True])
def test_layers_with_python_code_of_their_own(converted):
    """The counts equal those over the outputs of the same layers, called one by one."""
    model = models.live_in(custom.around(custom.Block(4)))
    block = model.layers[-1]
    block.first.bias.assign(np.float32([-1e3, 0.0, 0.0, -1e3]))
    x = models.samples(model, 50)
    first = keras.layers.Conv2D(4, 3, padding="same")
    first.build(x.shape)
    first.set_weights(block.first.get_weights())
    before = np.asarray(keras.ops.convert_to_numpy(first(x)))
    if converted:
        model = kp.convert(model, rescale="none", alpha=0.25, parameterization="identity")
    sites = dead_units(model, x, batch_size=20)
    assert [site.units for site in sites] == [4, 4, 8, 8, 8, 4, 4]
    assert [site.path for site in sites] == [site.path for site in kp.find_sites(model)]
    assert sites[0].dead == 2
    assert sites[0].negative == pytest.approx(np.mean(before <= 0))
    if converted:
        after = np.where(before > 0, before, 0.25 * before)
        assert sites[1].negative == pytest.approx(np.mean(after <= 0))
        assert sites[0].one_sided == 0
    else:
        assert sites[1].negative == pytest.approx(np.mean(np.maximum(before, 0) <= 0))
        assert sites[0].one_sided is None
    revival = kp.revive(model, x)
    assert {site.action for site in revival.sites if site.dead_before} == {
        "kept: it is inside a layer with Python code of its own"
    }


class Cell(L.Layer):
    """A recurrent cell, which runs in a loop."""

    state_size = output_size = 6

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = L.Dense(6, activation="relu")

    def build(self, shape):
        self.dense.build((None, shape[-1] + 6))

    def call(self, inputs, states):
        output = self.dense(keras.ops.concatenate([inputs, states[0]], axis=-1))
        return output, [output]


class ByKeyword(L.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.relu = L.ReLU()

    def call(self, inputs):
        return self.relu(inputs=inputs)


@pytest.mark.parametrize(
    ("first", "seen", "not_seen"),
    [
        (lambda: L.RNN(Cell(), name="rnn"), [], ["rnn/cell/dense"]),
        (
            lambda: L.Bidirectional(L.GRU(6, activation="relu"), name="two"),
            [],
            ["two/backward_layer", "two/forward_layer"],
        ),
        (lambda: ByKeyword(name="by"), ["by/relu"], []),
    ],
    ids=["cell", "bidirectional", "keyword"],
)
def test_rectifiers_in_loops_are_not_seen(first, seen, not_seen):
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, L.Dense(3, activation="relu", name="last")(first()(inputs)))
    x = models.samples(model, 6)
    sites = dead_units(model, x)
    assert [site.path for site in sites if site.seen] == [*seen, "last"]
    assert sorted(site.path for site in sites if not site.seen) == not_seen
    assert signal_by_depth(model, x)[-1].path == channel_influences(model, x)[-1].path == "last"


def test_an_uncompiled_pass_counts_the_same(monkeypatch):
    """Under a strategy that divides batches, nothing is compiled."""
    model = kp.convert(models.live_in(models.nested()), rescale="none")
    x = models.samples(model, 40)
    compiled = dead_units(model, x)
    monkeypatch.setattr("keras_prelu.graph.batch_probe.hosts", lambda: 2)
    for one, other in zip(dead_units(model, x), compiled, strict=True):
        assert one == other
