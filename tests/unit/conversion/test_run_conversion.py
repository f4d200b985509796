"""keras_prelu.conversion.convert.run_conversion: the records, and that nothing is derived twice."""

import sys
from collections import Counter

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.calibration.verification import LARGE_ERROR
from keras_prelu.conversion import to_prelu  # Imported before functions are counted.
from keras_prelu.graph import plan
from keras_prelu.sites import finder
from tests.helpers import custom, models

L = keras.layers


def count_calls(monkeypatch, function):
    """Count the calls of a function by the name of the model it gets, wherever it is imported."""
    counts = Counter()

    def counting(model, *args, **kwargs):
        counts[id(model)] += 1
        return function(model, *args, **kwargs)

    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("keras_prelu"):
            for name, value in list(vars(module).items()):
                if value is function:
                    monkeypatch.setattr(module, name, counting)
    return counts


@pytest.mark.parametrize("alpha", ["auto", 0.25])
def test_sites_are_located_once_and_each_plan_is_compiled_once(alpha, monkeypatch):
    layers = [L.Dense(4, "relu"), L.Dense(64, "relu"), L.Dense(3)]
    model = models.live_in(keras.Sequential([keras.Input((6,)), *layers]))
    located = count_calls(monkeypatch, finder.locate_sites)
    compiled = count_calls(monkeypatch, plan.compile_plan)
    conversion = kp.run_conversion(model, alpha=alpha, calibration_data=models.samples(model, 200))
    if alpha == "auto":
        assert len(conversion.slope_search.trials) > 1
    assert located == {id(model): 1}
    assert compiled == {id(model): 1, id(conversion.model): 1}


def test_samples_are_checked_once(monkeypatch):
    model = models.live_in(models.mlp())
    scans = []
    isfinite = np.isfinite
    monkeypatch.setattr(
        np, "isfinite", lambda x, *a, **k: scans.append(np.shape(x)) or isfinite(x, *a, **k)
    )
    kp.convert(model, alpha="auto", tolerance=1e-4, calibration_data=models.samples(model, 123))
    assert [shape for shape in scans if shape and shape[0] == 123] == [(123, 6)]


def test_the_records_of_a_calibration():
    model = models.live_in(models.mlp())
    x = models.samples(model, 100)
    conversion = kp.run_conversion(model, calibration_data=x)
    assert list(conversion.sites) == kp.find_sites(model)
    assert conversion.slope_search is None
    assert conversion.calibration.samples == 100
    assert conversion.calibration.error_after < conversion.calibration.error_before
    converted = kp.convert(model, calibration_data=x)
    for one, other in zip(conversion.model.get_weights(), converted.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_records_of_a_search():
    model = models.live_in(models.mlp())
    conversion = kp.run_conversion(model, alpha="auto", calibration_data=models.samples(model, 100))
    search = conversion.slope_search
    assert list(search.slopes) == [site.target for site in conversion.sites]
    assert conversion.calibration is search.calibration


def test_there_are_no_records_without_samples():
    conversion = kp.run_conversion(models.mlp(), rescale="none")
    assert (conversion.calibration, conversion.slope_search) == (None, None)


@pytest.mark.parametrize(
    ("activation", "arguments", "is_exact"),
    [
        (lambda: L.ReLU(), {}, True),
        (lambda: L.ReLU(6.0), {"alpha": 0.0}, True),
        (lambda: L.ReLU(), {"parameterization": "positive"}, False),
        (lambda: L.LeakyReLU(0.1), {}, True),
        (lambda: L.LeakyReLU(0.1), {"keep_slopes": False, "rescale": "none"}, False),
        (lambda: L.PReLU("random_uniform"), {}, True),
        (lambda: L.PReLU("random_uniform"), {"keep_slopes": False, "rescale": "none"}, False),
        (lambda: L.Activation("gelu"), {"include": "act", "alpha": 0.0, "rescale": "none"}, False),
    ],
)
def test_a_conversion_says_whether_it_is_exact(activation, arguments, is_exact):
    model = keras.Sequential([keras.Input((6,)), L.Dense(8), activation(), L.Dense(3)])
    arguments = {
        key: model.layers[1].name if key == "include" else value for key, value in arguments.items()
    }
    conversion = kp.run_conversion(model, **arguments)
    assert conversion.is_exact is is_exact
    x = models.samples(model, 20)
    same = np.array_equal(conversion.model.predict(x, verbose=0), model.predict(x, verbose=0))
    assert same is is_exact


def test_where_all_slopes_are_kept_a_search_is_a_calibration():
    model = keras.Sequential([keras.Input((6,)), L.Dense(8), L.LeakyReLU(), L.Dense(3)])
    conversion = kp.run_conversion(model, alpha="auto", calibration_data=models.samples(model, 60))
    assert conversion.slope_search is None
    assert conversion.calibration.samples == 60


def test_the_settings_of_the_calibration_are_handed_on():
    model = models.live_in(models.mlp())
    model.layers[1].trainable = False
    steps = []
    conversion = kp.run_conversion(
        model,
        calibration_data=models.samples(model, 100),
        max_samples=40,
        refit_frozen=True,
        batch_size=16,
        memory_limit=0,
        seed=5,
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert conversion.calibration.samples == 40
    assert [layer.action for layer in conversion.calibration.layers][1:] == ["refitted"] * 2
    assert steps[-1] == (len(steps), len(steps))


@pytest.mark.filterwarnings("ignore:.*does not have a `build:UserWarning")
def test_a_subclassed_model():
    model = custom.Classifier()
    x = np.random.default_rng(0).normal(size=(40, 8, 8, 3)).astype("float32")
    model(x[:1])
    models.live_in(model, seed=1)
    conversion = kp.run_conversion(model, calibration_data=x)
    assert conversion.calibration.error_after < conversion.calibration.error_before


def test_bad_samples_are_refused_before_anything_is_rebuilt(monkeypatch):
    monkeypatch.setattr(
        to_prelu, "exchange_rectifiers", lambda *args, **kwargs: pytest.fail("It was rebuilt.")
    )
    with pytest.raises(kp.errors.DataError, match="shape"):
        kp.convert(models.mlp(), calibration_data=np.zeros((9, 7)))


def outputs_of(model, x):
    return [
        np.asarray(output, np.float64)
        for output in keras.tree.flatten(model.predict(x, verbose=0, batch_size=8))
    ]


@pytest.mark.parametrize("rescale", ["none", "analytic", "moments"])
@pytest.mark.parametrize("build", [models.two_outputs, models.residual])
def test_without_calibration_the_error_is_measured_on_the_samples(build, rescale):
    model = models.live_in(build())
    x = models.samples(model, 40)
    conversion = kp.run_conversion(
        model, alpha=0.01, rescale=rescale, calibration_data=x, batch_size=16
    )
    pairs = zip(outputs_of(conversion.model, x), outputs_of(model, x), strict=True)
    errors = [np.mean((after - before) ** 2) / np.var(before) for after, before in pairs]
    assert conversion.error == pytest.approx(np.mean(errors), rel=1e-3)
    assert (conversion.calibration, conversion.note) == (None, "")
    again = kp.convert(model, alpha=0.01, rescale=rescale)
    for one, other in zip(conversion.model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_error_of_a_model_with_a_fixed_batch_size():
    inputs = keras.Input(batch_shape=(8, 6))
    model = models.live_in(keras.Model(inputs, L.Dense(2)(L.Dense(5, "relu")(inputs))))
    x = models.samples(model, 20)
    conversion = kp.run_conversion(model, alpha=0.1, rescale="none", calibration_data=x)
    targets, outputs = (
        np.concatenate(
            [keras.ops.convert_to_numpy(each(x[rows])) for rows in (range(8), range(8, 16))]
        )
        for each in (model, conversion.model)
    )
    # The samples of a third, incomplete batch are left out.
    assert conversion.error == pytest.approx(kp.theory.relative_error(outputs, targets), rel=1e-4)


def test_a_large_error_is_said_with_and_without_calibration():
    model = models.live_in(models.mlp())
    x = models.samples(model, 40)
    with pytest.warns(kp.errors.KerasPReLUWarning, match="on the samples is .*would help") as heard:
        conversion = kp.run_conversion(model, alpha=9.0, rescale="none", calibration_data=x)
    assert conversion.error > LARGE_ERROR
    assert conversion.note in [str(one.message) for one in heard]
    narrow = keras.Sequential([keras.Input((6,)), L.Dense(1), L.ReLU(), L.Dense(1), L.ReLU()])
    narrow.add(L.Dense(3, name="last"))
    narrow = models.live_in(narrow)
    with pytest.warns(kp.errors.KerasPReLUWarning, match="grows most at 'last'.*exclude") as heard:
        conversion = kp.run_conversion(
            narrow, alpha=-9.0, parameterization="identity", calibration_data=x
        )
    assert conversion.error == conversion.calibration.error_after > LARGE_ERROR
    assert conversion.note in [str(one.message) for one in heard]
    assert "\n" not in conversion.note


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_outputs_that_are_not_finite_are_refused():
    model = models.live_in(models.mlp())
    x = models.samples(model, 40)
    for rescale in ("none", "moments"):
        with pytest.raises(kp.errors.ConversionError, match=r"NaN or infinite .*smaller slopes"):
            kp.convert(model, alpha=3e38, rescale=rescale)
        with pytest.raises(kp.errors.CalibrationError, match=r"not finite.*smaller slopes"):
            kp.convert(model, alpha=3e38, rescale=rescale, calibration_data=x)
    with pytest.raises(kp.errors.CalibrationError, match=r"not finite.*smaller slopes"):
        kp.convert(model, alpha=3e38, calibration_data=x)
    converted = kp.convert(model, alpha=0.25, rescale="none")
    converted.layers[1].beta.assign(np.full(converted.layers[1].beta.shape, 88.0))
    with pytest.raises(kp.errors.CalibrationError, match=r"not finite.*smaller slopes"):
        kp.calibrate(converted, model, 1e3 * x)


def test_distilled_conversions_are_calibrated_first():
    model = models.inverted_residuals(seed=2)
    x = models.samples(model, 150)
    conversion = kp.run_conversion(model, rescale="distilled", calibration_data=x)
    calibration, distillation = conversion.calibration, conversion.distillation
    assert distillation.samples == calibration.samples == 150
    assert distillation.error_before == pytest.approx(calibration.error_after, rel=1e-4)
    assert distillation.error_after < distillation.error_before
    assert conversion.error == distillation.error_after
    assert kp.run_conversion(model, calibration_data=x).distillation is None
    with pytest.raises(ValueError, match='rescale="distilled" needs `calibration_data`'):
        kp.convert(model, rescale="distilled")
