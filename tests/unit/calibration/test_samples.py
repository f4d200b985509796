"""keras_prelu.calibration.samples: what fits a model, what is held out, and which host has what."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.backend import hosts
from keras_prelu.calibration.host_exchange import HostExchange
from keras_prelu.calibration.samples import (
    CalibrationSamples,
    check_samples,
    split_samples,
    with_graph,
)
from keras_prelu.data.samples import Samples
from tests.helpers import models

L = keras.layers


def test_one_host_has_all_samples_and_holds_out_a_fifth():
    split = split_samples(93, batch_size=10, seed=0)
    assert split.total == 93
    assert split.is_local.all()
    assert split.exchange is None
    assert split.local_held_out is not split.held_out
    expected = np.random.default_rng(0).permutation(93)[:18]
    assert sorted(np.flatnonzero(split.local_held_out)) == sorted(expected)


def test_of_few_samples_one_is_held_out():
    assert int(split_samples(5, batch_size=128, seed=0).held_out.sum()) == 1


@pytest.mark.parametrize("host", [0, 1])
def test_two_hosts_take_every_other_batch_and_exchange(host, monkeypatch):
    monkeypatch.setattr(hosts, "hosts", lambda: 2)
    monkeypatch.setattr(hosts, "host", lambda: host)
    split = split_samples(93, batch_size=10, seed=0)
    batches = [slice(10 * number, 10 * number + 10) for number in range(host, 10, 2)]
    local = np.concatenate([np.arange(93)[batch] for batch in batches])
    np.testing.assert_array_equal(np.flatnonzero(split.is_local), local)
    np.testing.assert_array_equal(split.local_held_out, split.held_out[local])
    assert split.total == 93
    assert isinstance(split.exchange, HostExchange)


def held_out_as(monkeypatch, held_out):
    monkeypatch.setattr(
        "keras_prelu.calibration.samples.hold_out", lambda count, rng, block: np.array(held_out)
    )


def test_all_samples_of_a_batch_count_for_whether_hosts_divide(monkeypatch):
    """Of each batch the first sample fits, and the second is held out."""
    monkeypatch.setattr(hosts, "hosts", lambda: 2)
    monkeypatch.setattr(hosts, "host", lambda: 1)
    held_out_as(monkeypatch, [False, True, False, True])
    split = split_samples(4, batch_size=2, seed=0)
    assert split.is_local.tolist() == [False, False, True, True]
    assert split.exchange is not None


@pytest.mark.parametrize("held_out", [[True, False, True, True], [False, False, True, False]])
def test_hosts_do_not_divide_what_would_leave_one_without_samples_of_both_kinds(
    held_out, monkeypatch
):
    """Two hosts, two batches of two."""
    monkeypatch.setattr(hosts, "hosts", lambda: 2)
    monkeypatch.setattr(hosts, "host", lambda: 0)
    held_out_as(monkeypatch, held_out)
    split = split_samples(4, batch_size=2, seed=0)
    assert split.is_local.all()
    assert split.exchange is None


def test_a_part_of_the_samples_is_drawn_at_random():
    model = models.mlp()
    x = models.samples(model, 60)
    drawn = check_samples(model, Samples(x, np.zeros(60)), max_samples=20, seed=3)
    assert isinstance(drawn, CalibrationSamples)
    order = np.random.default_rng(3).permutation(60)[:20]
    np.testing.assert_array_equal(drawn.arrays[0], x[order])
    assert len(check_samples(model, x, max_samples=100)) == 60
    with pytest.raises(kp.errors.InvalidArgumentError, match="`max_samples`"):
        check_samples(model, x, max_samples=0)


def test_a_model_written_in_python_keeps_its_name_and_its_inputs_dtype():
    class Lookup(keras.Model):
        def __init__(self):
            super().__init__(name="lookup")
            self.table, self.out = L.Embedding(5, 4), L.Dense(2)

        def call(self, ids):
            assert keras.backend.is_int_dtype(ids.dtype)
            return self.out(self.table(ids))

    model = Lookup()
    graph = with_graph(model, np.zeros((6, 3), "int32"))
    assert graph.name == "lookup"
    assert graph.inputs[0].dtype == "int32"
    assert graph.inputs[0].shape == (None, 3)


def test_a_model_that_can_not_be_traced_is_named_with_the_reason():
    class Stubborn(keras.Model):
        def call(self, inputs):
            raise RuntimeError("needs numbers")

    with pytest.raises(kp.errors.CalibrationError, match=r"'stubborn' \(Stubborn\).*needs numbers"):
        with_graph(Stubborn(name="stubborn"), np.zeros((6, 3)))


def stateful_model():
    inputs = keras.Input(batch_shape=(20, 5, 4))
    hidden = L.LSTM(6, stateful=True, return_sequences=True)(L.Dense(8, "relu")(inputs))
    return models.live_in(keras.Model(inputs, L.Dense(2)(L.Dense(8, "relu")(hidden))))


SEQUENCES = np.random.default_rng(0).normal(size=(130, 5, 4)).astype("float32")


def test_whole_batches_are_held_out_of_a_model_with_a_fixed_batch_size():
    split = split_samples(130, batch_size=20, seed=0, block=20)
    blocks = split.held_out.reshape(-1, 10)
    assert split.held_out.sum() in (10, 20)
    assert set(blocks.sum(axis=1)) == {0, 10}


def test_a_model_with_a_fixed_batch_size_and_state_is_judged_as_it_runs():
    model = stateful_model()
    conversion = kp.run_conversion(model, alpha=0.25, calibration_data=SEQUENCES)
    assert conversion.calibration.samples == 120
    assert conversion.calibration.held_out == 20
    batch = np.flatnonzero(split_samples(120, 20, 0, block=20).held_out)
    outputs = []
    for each in (model, conversion.model):
        # Called batch by batch: on JAX, `predict` starts each batch from the same state.
        calls = [each(SEQUENCES[k : k + 20], training=False) for k in range(0, 120, 20)]
        outputs.append(np.concatenate(list(map(keras.ops.convert_to_numpy, calls)))[batch])
    target, result = outputs
    error = np.square(result - target).mean() / target.var()
    assert conversion.calibration.error_after == pytest.approx(error, rel=1e-3)


def test_too_few_batches_for_a_fixed_batch_size_are_refused():
    with pytest.raises(kp.errors.CalibrationError, match=r"takes exactly 20 .* at least 40"):
        kp.convert(stateful_model(), calibration_data=SEQUENCES[:30])


def test_a_short_last_batch_that_a_model_does_not_take_is_refused():
    model = stateful_model()
    assert len(kp.diagnostics.dead_units(model, SEQUENCES[:120])) == 2
    with pytest.raises(kp.errors.DataError, match=r"multiple of 20 samples"):
        kp.diagnostics.dead_units(model, SEQUENCES)


def test_gradients_are_measured_in_whole_batches():
    inputs = keras.Input(batch_shape=(10, 8))
    hidden = keras.ops.reshape(L.Dense(16, "relu")(inputs), (10, 4, 4))
    model = keras.Model(inputs, L.Dense(2)(L.Flatten()(hidden)))
    x = np.random.default_rng(0).normal(size=(100, 8)).astype("float32")
    signal = kp.diagnostics.signal_by_depth(model, x, probes=32)
    expected = kp.diagnostics.signal_by_depth(model, x[:40], probes=40)
    assert [each.path for each in signal] == [each.path for each in expected]
    assert all(np.isfinite(each.gain) for each in signal)
