"""keras_prelu.calibration.distillation: blocks trained on what the original computes."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.calibration import distillation, distillation_run
from keras_prelu.errors import CalibrationError, InvalidArgumentError
from tests.helpers import models

L = keras.layers


@pytest.fixture(scope="module")
def calibrated_pair():
    """An original, the weights of its calibrated conversion, and samples."""
    original = models.inverted_residuals(seed=2)
    samples = models.samples(original, 120)
    converted = kp.convert(original, alpha=0.25, rescale="none")
    kp.calibrate(converted, original, samples)
    return original, converted.get_weights(), samples


@pytest.fixture
def pair(calibrated_pair):
    original, weights, samples = calibrated_pair
    converted = kp.convert(original, alpha=0.25, rescale="none")
    converted.set_weights(weights)
    return converted, original, samples


def error(converted, original, x):
    before, after = original.predict(x, verbose=0), converted.predict(x, verbose=0)
    return kp.theory.relative_error(after, before)


def test_depthwise_blocks_come_closer_on_unseen_samples(pair):
    converted, original, samples = pair
    unseen = models.samples(original, 200, seed=5)
    before = error(converted, original, unseen)
    record = kp.distill(converted, original, samples)
    assert record.kept
    assert record.error_after < record.error_before
    assert error(converted, original, unseen) < 0.95 * before
    first = record.blocks[0]
    assert first.kept
    assert first.error_after < 0.9 * first.error_before


def test_the_record_holds_the_error_on_held_out_samples(pair):
    converted, original, samples = pair
    held_out = samples[np.random.default_rng(0).permutation(len(samples))[: len(samples) // 5]]
    before = error(converted, original, held_out)
    record = kp.distill(converted, original, samples)
    assert record.kept
    assert record.held_out == len(held_out)
    assert record.error_before == pytest.approx(before, rel=1e-4)
    assert record.error_after == pytest.approx(error(converted, original, held_out), rel=1e-4)
    assert record.blocks[-1].error_after == pytest.approx(record.error_after, rel=1e-4)


def test_the_same_seed_gives_the_same_weights_also_through_files(pair):
    converted, original, samples = pair
    weights = converted.get_weights()
    results = []
    for options in ({}, {"memory_limit": 2e7, "batch_size": 120}, {"seed": 1}):
        converted.set_weights(weights)
        kp.distill(converted, original, samples, **options)
        results.append(converted.get_weights())
    first, again, other = results
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))


def test_slopes_statistics_and_the_original_stay_as_they_are(pair):
    converted, original, samples = pair
    original_weights = original.get_weights()
    kept = [
        variable
        for variable in converted.variables
        if kp.layers.is_slope(variable) or "moving" in variable.name
    ]
    values = [keras.ops.convert_to_numpy(variable).copy() for variable in kept]
    flags = [variable.trainable for variable in converted.variables]
    kp.distill(converted, original, samples, epochs=1)
    assert all(map(np.array_equal, original_weights, original.get_weights()))
    for variable, value in zip(kept, values, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)
    assert flags == [variable.trainable for variable in converted.variables]
    # A second call of a layer in some graph would make its output ambiguous.
    assert all(layer.output is not None for layer in converted.layers)


def test_training_that_makes_it_worse_is_undone(pair):
    converted, original, samples = pair
    weights = converted.get_weights()
    record = kp.distill(converted, original, samples, epochs=1, learning_rate=1e6)
    assert not any(block.kept for block in record.blocks)
    assert record.error_after == record.error_before
    assert all(map(np.array_equal, weights, converted.get_weights()))


def test_a_worse_model_is_undone_though_its_blocks_are_better(pair, monkeypatch):
    converted, original, samples = pair
    weights = converted.get_weights()
    targets = np.array([[0.0, 2.0], [2.0, 0.0]])  # Of variance 1.
    outputs = iter([[targets], [targets + 0.1], [targets + 0.2]])
    monkeypatch.setattr(
        distillation_run.DistillationRun, "_model_outputs", lambda *_: next(outputs)
    )
    record = kp.distill(converted, original, samples)
    assert any(block.kept for block in record.blocks)
    assert not record.kept
    assert (record.error_before, record.error_after) == (pytest.approx(0.01),) * 2
    assert all(map(np.array_equal, weights, converted.get_weights()))


def test_an_interrupt_restores_the_weights(pair):
    converted, original, samples = pair
    weights = converted.get_weights()
    seen = []

    def interrupt(done, total):
        seen.append((done, total))
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kp.distill(converted, original, samples, epochs=1, on_step=interrupt)
    assert seen == sorted(seen)
    assert all(map(np.array_equal, weights, converted.get_weights()))


def test_progress_ends_with_its_total(pair):
    converted, original, samples = pair
    seen = []
    kp.distill(converted, original, samples, epochs=1, on_step=lambda *step: seen.append(step))
    assert seen[-1][0] == seen[-1][1]


def test_penalties_of_layers_are_no_part_of_the_loss():
    regularizer = keras.regularizers.L2(1e6)
    model = models.live_in(
        keras.Sequential(
            [
                keras.Input((6,)),
                L.Dense(8, "relu", kernel_regularizer=regularizer),
                L.Dense(8, "relu"),
                L.Dense(3),
            ]
        )
    )
    samples = models.samples(model, 200)
    converted = kp.convert(model, alpha=0.25, rescale="none")
    before = error(converted, model, samples)
    record = kp.distill(converted, model, samples)
    assert record.kept
    assert error(converted, model, samples) < 0.5 * before


def test_weights_stay_within_their_constraints():
    model = models.live_in(
        keras.Sequential(
            [
                keras.Input((6,)),
                L.Dense(8, "relu", kernel_constraint="non_neg"),
                L.Dense(8, "relu"),
                L.Dense(3),
            ]
        )
    )
    first = model.layers[0].kernel
    first.assign(keras.ops.abs(first))
    converted = kp.convert(model, alpha=0.25, rescale="none")
    kp.distill(converted, model, models.samples(model, 200))
    kernel = keras.ops.convert_to_numpy(converted.layers[0].kernel)
    assert not np.array_equal(kernel, keras.ops.convert_to_numpy(first))
    assert kernel.min() >= 0


@pytest.mark.filterwarnings("ignore:The calibrated model differs")  # It is not calibrated.
@pytest.mark.parametrize("build", [models.two_outputs, models.siamese, models.nested])
def test_models_of_several_inputs_and_outputs(build):
    model = models.live_in(build())
    converted = kp.convert(model, alpha=0.25, rescale="none")
    record = kp.distill(converted, model, models.samples(model, 32), epochs=2)
    assert record.error_after < record.error_before


def test_options_out_of_range_and_several_hosts_are_refused(pair, monkeypatch):
    converted, original, samples = pair
    with pytest.raises(InvalidArgumentError, match="epochs"):
        kp.distill(converted, original, samples, epochs=0)
    with pytest.raises(InvalidArgumentError, match="learning_rate"):
        kp.distill(converted, original, samples, learning_rate=-1.0)
    monkeypatch.setattr(distillation, "hosts", lambda: 2)
    with pytest.raises(CalibrationError, match="one host"):
        kp.distill(converted, original, samples)
