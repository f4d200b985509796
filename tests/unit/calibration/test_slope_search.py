"""keras_prelu.calibration.slope_search: slopes as large as calibration can make up for."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_prelu as kp
from keras_prelu.calibration import slope_search
from keras_prelu.calibration.threshold_search import _Bounds
from tests.helpers import custom, models

L = keras.layers


def narrow_then_wide():
    """A net whose first layer has a few units more than its input is wide, and whose second has
    many."""
    layers = [L.Dense(4, "relu", name="narrow"), L.Dense(64, "relu", name="wide"), L.Dense(3)]
    return models.live_in(keras.Sequential([keras.Input((6,)), *layers]))


def uncalibrated(model, **kwargs):
    return kp.convert(model, rescale="none", **kwargs)


def held_out(x, seed=0):
    return x[np.random.default_rng(seed).permutation(len(x))[: len(x) // 5]]


def loss(model, original, x):
    before, after = original.predict(x, verbose=0), model.predict(x, verbose=0)
    return kp.diagnostics.relative_error(after, before)


@pytest.mark.parametrize("tolerance", [0.004, 0.0005])
def test_the_loss_is_within_the_tolerance_and_narrow_layers_get_smaller_slopes(tolerance):
    model = narrow_then_wide()
    converted = uncalibrated(model)
    x = models.samples(model, 600)
    search = kp.find_slopes(converted, model, x, tolerance=tolerance)
    assert search.within
    assert loss(converted, model, held_out(x)) <= tolerance * (1 + 1e-5)
    assert search.slopes["narrow_prelu"] < search.slopes["wide_prelu"]
    found = {layer.name: layer for layer in converted.layers}
    for path, slope in search.slopes.items():
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found[path].alpha), slope, rtol=1e-6)
    # Larger slopes were tried and were not within it.
    assert not search.trials[0].within
    assert any(trial.threshold > 0 and not trial.within for trial in search.trials)
    assert 2 <= len(search.trials) <= 5


@settings(max_examples=200, deadline=None)
@given(
    exponent=st.floats(0.6, 3.5),
    tolerance=st.floats(1e-4, 0.1),
    seed=st.integers(0, 2**16),
)
def test_an_error_that_is_a_power_of_what_is_predicted_is_met_in_few_trials(
    exponent, tolerance, seed
):
    rng = np.random.default_rng(seed)
    predicted = np.sort(rng.uniform(size=60) ** 4)
    errors = predicted**exponent
    errors[-1] = max(errors[-1], 2 * tolerance)
    predicted[-1] = errors[-1] ** (1 / exponent)
    bounds = _Bounds(predicted=list(predicted), above=(59, errors[-1]))
    for _ in range(2):
        index = bounds.next_index(0.8 * tolerance)
        if index is None:
            break
        bounds.add(index, errors[index], within=errors[index] <= tolerance)
    at = -1 if bounds.below is None else bounds.below[0]
    best = int(np.flatnonzero(errors <= tolerance)[-1]) if errors[0] <= tolerance else -1
    # The exponent is known from the second trial on, and the third is where the error should be.
    index = bounds.next_index(0.8 * tolerance)
    reached = max(at, -1 if index is None else index)
    assert reached <= best
    assert reached == best or errors[reached + 1] > 0.8 * tolerance * (1 - 1e-9)


@pytest.mark.parametrize("error", [np.inf, np.nan])
def test_an_error_that_is_not_finite_is_halved_away(error):
    bounds = _Bounds(predicted=[0.0, 0.1, 0.2, 0.3, 0.4], above=(4, error))
    assert bounds.next_index(0.1) == 2
    bounds.add(2, 0.01, within=True)
    assert bounds.next_index(0.1) == 3
    bounds.add(3, 0.2, within=False)
    assert bounds.next_index(0.1) is None


def test_a_smaller_tolerance_gives_no_larger_slopes():
    model = narrow_then_wide()
    x = models.samples(model, 600)
    found = [
        kp.find_slopes(uncalibrated(model), model, x, tolerance=tolerance).slopes
        for tolerance in (0.05, 0.005, 0.0005)
    ]
    for larger, smaller in itertools.pairwise(found):
        assert all(smaller[path] <= larger[path] for path in larger)
    assert found[0] != found[-1]


def test_the_default_is_an_error_budget_whatever_the_decisions():
    model = narrow_then_wide()
    x = models.samples(model, 600)
    converted = uncalibrated(model)
    search = kp.find_slopes(converted, model, x)
    assert search.tolerance == slope_search.ERROR_BUDGET
    assert search.within
    part = held_out(x)
    assert loss(converted, model, part) <= slope_search.ERROR_BUDGET * (1 + 1e-5)
    # The trial that was chosen may change decisions; it says on how many samples.
    (*_, chosen) = (trial for trial in search.trials if trial.within)
    before, after = model.predict(part, verbose=0), converted.predict(part, verbose=0)
    assert chosen.changed == np.sum(before.argmax(-1) != after.argmax(-1))


def test_slopes_are_the_largest_where_calibration_restores_all():
    """Twice as many units as inputs, whose sums restore the inputs: nothing is lost at any
    slope."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), L.Dense(60, "relu"), L.Dense(2)])
    search = kp.find_slopes(uncalibrated(model), model, models.samples(model, 400))
    assert list(search.slopes.values()) == [pytest.approx(0.25)]
    assert len(search.trials) == 1


def test_where_nothing_is_within_the_tolerance_the_smallest_slopes_stay_with_a_warning():
    model = narrow_then_wide()
    converted = uncalibrated(model)
    with pytest.warns(kp.errors.KerasPReLUWarning, match=r"the error is .* is allowed"):
        search = kp.find_slopes(converted, model, models.samples(model, 100), tolerance=1e-14)
    assert not search.within
    assert list(search.slopes.values()) == [pytest.approx(0.25 / 256)] * 2
    assert search.calibration.error_after > 1e-14


@pytest.mark.parametrize(
    "build",
    [
        models.residual,
        models.capped,
        models.two_outputs,
        models.siamese,
        lambda: custom.around(custom.Block(name="in"), L.Dense(2)),
    ],
)
def test_other_kinds_of_models(build):
    model = models.live_in(build())
    converted = uncalibrated(model)
    search = kp.find_slopes(converted, model, models.samples(model, 100), tolerance=0.05)
    assert search.within
    assert search.calibration.error_after <= 0.05


def test_an_interrupt_leaves_the_model_as_it_was():
    model = narrow_then_wide()
    converted = uncalibrated(model)
    before = converted.get_weights()
    calls = []

    def interrupt(done, total):
        calls.append(done)
        if len(calls) == total + 2:  # in the second calibration
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kp.find_slopes(
            converted, model, models.samples(model, 100), tolerance=0.0005, on_step=interrupt
        )
    for old, new in zip(before, converted.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_only_the_layers_that_are_named():
    model = narrow_then_wide()
    converted = uncalibrated(model)
    search = kp.find_slopes(
        converted, model, models.samples(model, 100), tolerance=0.05, layers=["wide_prelu"]
    )
    assert list(search.slopes) == ["wide_prelu"]
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(converted.get_layer("narrow_prelu").alpha), 0.25, rtol=1e-6
    )


def test_slopes_that_are_kept_are_not_searched():
    inputs = keras.Input((6,))
    x = L.LeakyReLU(negative_slope=0.4, name="leaky")(L.Dense(8)(inputs))
    model = models.live_in(keras.Model(inputs, L.Dense(2)(L.ReLU(name="act")(L.Dense(3)(x)))))
    converted = kp.convert(
        model, alpha="auto", tolerance=0.001, calibration_data=models.samples(model, 200)
    )
    assert float(np.mean(keras.ops.convert_to_numpy(converted.get_layer("act").alpha))) < 0.25
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(converted.get_layer("leaky").alpha), 0.4, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"alpha": "auto"}, "needs `calibration_data`"),
        ({"alpha": "auto", "rescale": "moments"}, "needs `calibration_data`"),
        ({"alpha": "big"}, "'auto'"),
        ({"tolerance": 0.1}, "`tolerance` is for"),
    ],
)
def test_arguments_of_convert_that_do_not_go_together(kwargs, match):
    with pytest.raises(kp.errors.InvalidArgumentError, match=match):
        kp.convert(models.mlp(), **kwargs)


@pytest.mark.parametrize("kwargs", [{"tolerance": 0.0}, {"tolerance": -1.0}, {"largest": 0.0}])
def test_arguments_out_of_range(kwargs):
    model = models.mlp()
    with pytest.raises(kp.errors.InvalidArgumentError, match="must be a finite number above 0"):
        kp.find_slopes(uncalibrated(model), model, models.samples(model, 50), **kwargs)


def test_layers_that_are_none():
    model = models.mlp()
    with pytest.raises(kp.errors.ConversionError, match="'nothing' is not a PReLU layer"):
        kp.find_slopes(uncalibrated(model), model, models.samples(model, 50), layers=["nothing"])
    with pytest.raises(kp.errors.ConversionError, match="Convert it first"):
        kp.find_slopes(models.mlp(), model, models.samples(model, 50))
