"""Constraints of weights hold after every operation that changes weights, for every kind of layer
and constraint."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.graph.weight_sharing import SharedVariables
from tests.helpers import models
from tests.helpers.constrained import CONSTRAINTS, NETWORKS, network, violations
from tests.helpers.marks import slow_except

L = keras.layers
CASES = [
    (name, constraint)
    for name in NETWORKS
    for constraint in CONSTRAINTS
    if name != "recurrent" or constraint == "unit_norm"  # slow, and no weight of it is changed
]


# Every network and every constraint once; `dense`, which is the fastest, with all constraints.
FAST = [
    "conv2d, max_norm",
    "conv1d, own",
    "conv3d, min_max_norm",
    "normalized, non_neg",
    "einsum, max_norm",
    "recurrent, unit_norm",
    "attention, non_neg",
    *(f"dense, {constraint}" for constraint in CONSTRAINTS),
]


@pytest.mark.parametrize("case", slow_except(FAST, {", ".join(case): case for case in CASES}))
def test_constraints_hold_after_every_operation(case):
    name, constraint = case
    model = network(name, constraint)
    assert not violations(model)
    x = models.samples(model, 40)
    before = model.predict(x, verbose=0)

    kp.revive(model, x, threshold=0.4)
    assert not violations(model)

    model = network(name, constraint)
    for rescale in ("moments", "analytic"):
        assert not violations(kp.convert(model, alpha=0.2, rescale=rescale))
    converted = kp.convert(model, alpha=0.2, rescale="none")
    record = kp.calibrate(converted, model, x)
    assert not violations(converted)
    assert record.error_after <= record.error_before

    expected = converted.predict(x, verbose=0)
    kp.equalize(converted)
    assert not violations(converted)
    np.testing.assert_allclose(
        converted.predict(x, verbose=0), expected, rtol=0, atol=2e-5 * np.abs(expected).max()
    )
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


@pytest.mark.parametrize("name", ["dense", "conv1d", "conv2d"])
@pytest.mark.parametrize("constraint", ["non_neg", "max_norm", "own"])
def test_constrained_layers_are_refitted_within_their_constraints(name, constraint):
    """A constraint is no reason to give up: the refit still removes most of the error."""
    model = network(name, constraint)
    x, new = models.samples(model, 200), models.samples(model, 100, seed=7)
    expected = model.predict(new, verbose=0)
    converted = kp.convert(model, alpha=0.2, rescale="none")
    before = kp.theory.relative_error(converted.predict(new, verbose=0), expected)
    record = kp.calibrate(converted, model, x)
    assert any(layer.action == "refitted" for layer in record.layers)
    after = kp.theory.relative_error(converted.predict(new, verbose=0), expected)
    assert after < 0.8 * before


def test_a_monotone_network_stays_monotone():
    model = network("dense", "non_neg")
    x = models.samples(model, 100)
    converted = kp.convert(model, alpha=0.2, calibration_data=x)
    kp.equalize(converted)
    kp.revive(converted, x, threshold=0.3)
    rng = np.random.default_rng(3)
    low = rng.normal(size=(500, 6)).astype("float32")
    high = low + rng.exponential(size=low.shape).astype("float32")
    assert (converted.predict(high, verbose=0) >= converted.predict(low, verbose=0) - 1e-5).all()
    # A training step at rate 0 applies the constraints; nothing changes.
    before = converted.predict(x, verbose=0)
    converted.compile(keras.optimizers.SGD(0.0), "mse")
    converted.fit(x, before, epochs=1, verbose=0)
    np.testing.assert_allclose(converted.predict(x, verbose=0), before, rtol=1e-6, atol=1e-6)


@keras.saving.register_keras_serializable("tests")
class NeverContent(keras.constraints.Constraint):
    """A constraint that changes even what it has returned itself."""

    def __call__(self, w):
        return 0.5 * w


@keras.saving.register_keras_serializable("tests")
class Broken(keras.constraints.Constraint):
    def __call__(self, w):
        raise RuntimeError("not now")


@pytest.mark.parametrize("constraint", [NeverContent, Broken])
def test_a_constraint_that_nothing_satisfies_keeps_its_layer(constraint):
    layers = [L.Dense(8, "relu"), L.Dense(3, kernel_constraint=constraint(), name="last")]
    model = models.live_in(keras.Sequential([keras.Input((6,)), *layers]))
    converted = kp.convert(model, alpha=0.2, rescale="none")
    record = kp.calibrate(converted, model, models.samples(model, 50))
    assert record.layers[-1].action == "kept: its constraint leaves no other weights as they are"
    np.testing.assert_array_equal(
        converted.get_layer("last").get_weights()[0], layers[1].get_weights()[0]
    )


def test_a_spectrally_normalized_layer_is_not_refitted():
    inputs = keras.Input((4, 4))
    x = L.SpectralNormalization(L.Dense(4, name="wrapped"))(L.Dense(4, "relu")(inputs))
    model = models.live_in(keras.Model(inputs, L.Dense(3)(x)))
    converted = kp.convert(model, alpha=0.2, rescale="none")
    record = kp.calibrate(converted, model, models.samples(model, 50))
    actions = {layer.path.rsplit("/", 1)[-1]: layer.action for layer in record.layers}
    assert actions["wrapped"] == "kept: SpectralNormalization replaces its kernel in training"


def test_layers_that_share_weights_are_not_refitted(monkeypatch):
    """A refit of a later layer would change an earlier one, whose outputs are computed already."""
    model = network("dense", "non_neg")
    converted = kp.convert(model, alpha=0.2, rescale="none")
    shared = [converted.layers[2].kernel]
    monkeypatch.setattr(
        SharedVariables,
        "contains_any",
        lambda self, variables: any(each is shared[0] for each in variables),
    )
    weights = converted.layers[2].get_weights()
    record = kp.calibrate(converted, model, models.samples(model, 50))
    assert record.layers[1].action == "kept: it shares its weights with another layer"
    np.testing.assert_array_equal(converted.layers[2].get_weights()[0], weights[0])
