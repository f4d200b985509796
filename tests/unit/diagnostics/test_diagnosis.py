"""keras_prelu.diagnostics.diagnosis: known faults are diagnosed and named."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics import diagnose
from keras_prelu.diagnostics.diagnosis import MEASURES
from keras_prelu.diagnostics.initialization import GradientNorm, gradient_sentence
from tests.helpers import models

L = keras.layers


def test_dead_units_and_a_signal_that_explodes_are_named():
    model = models.live_in(
        keras.Sequential(
            [
                keras.Input((6,)),
                *(L.Dense(10, activation="relu", name=f"d{i}") for i in range(5)),
                L.Dense(2),
            ]
        )
    )
    for layer in model.layers[1:]:
        layer.kernel.assign(np.abs(keras.ops.convert_to_numpy(layer.kernel)) * 50)
    kernel, bias = model.layers[2].get_weights()
    kernel[:, :3], bias[:3] = 0.0, -1.0
    model.layers[2].set_weights([kernel, bias])
    x = models.samples(model, 100)
    diagnosis = diagnose(model, x)
    assert diagnosis.measures["dead"] >= 3 / 50
    texts = {finding.measure: finding.text for finding in diagnosis.findings}
    assert "most at 'd2'" in texts["dead"]
    assert "from 'd0' to" in texts["signal"]
    assert diagnosis.measures["signal"] > 1e4
    assert diagnosis.noise is None
    assert "noise" not in diagnosis.measures


def test_revival_is_advised_only_where_it_helps():
    """The dead unit of the first layer can be revived, those of the last are outputs."""
    layers = [L.Dense(8, activation="relu", name=name) for name in ("first", "last")]
    model = models.live_in(keras.Sequential([keras.Input((6,)), *layers]))

    def advice():
        findings = diagnose(model, models.samples(model, 50)).findings
        return next(finding.advice for finding in findings if finding.measure == "dead")

    keep = "keras_prelu.revive leaves {} as they are, at 'last' (its units are an output of the model)."
    layers[1].bias.assign([0.0] * 6 + [-100.0] * 2)
    assert advice().startswith(keep.format("such units"))
    assert "identity-revived" not in advice()
    layers[0].bias.assign([-100.0] + [0.0] * 7)
    assert "keras_prelu.revive gives 1 of them fresh weights" in advice()
    assert advice().endswith(keep.format("the other 2"))
    layers[1].bias.assign([0.0] * 8)
    assert "keras_prelu.revive gives such units fresh weights" in advice()
    assert "as they are" not in advice()


def test_a_healthy_network_with_labels():
    keras.utils.set_random_seed(0)
    dense = [
        L.Dense(32, kernel_initializer=kp.initializers.PReLUHeNormal(seed=i)) for i in range(2)
    ]
    model = keras.Sequential(
        [keras.Input((16,)), dense[0], kp.PReLU(), dense[1], kp.PReLU(), L.Dense(3)]
    )
    rng = np.random.default_rng(0)
    data = kp.data.Samples(rng.normal(size=(64, 16)).astype("float32"), rng.integers(0, 3, 64))
    diagnosis = diagnose(
        model, data, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    assert [finding.measure for finding in diagnosis.findings] == ["noise"]
    assert set(diagnosis.measures) == set(MEASURES)
    assert diagnosis.measures["dead"] == diagnosis.measures["nearly-dead"] == 0
    assert diagnosis.measures["one-sided"] <= 2 / 64
    assert diagnosis.measures["noise"] == diagnosis.noise.scale
    assert diagnosis.samples == 64


def test_slopes_of_zero_are_one_sided():
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(4), kp.PReLU(0.0, parameterization="identity"), L.Dense(2)]
    )
    diagnosis = diagnose(models.live_in(model), models.samples(model, 50))
    assert diagnosis.measures["one-sided"] == 1.0
    (finding,) = [finding for finding in diagnosis.findings if finding.measure == "one-sided"]
    assert "keras-prelu bake MODEL --prune" in finding.advice


def test_a_network_without_rectifiers_has_no_findings():
    model = keras.Sequential([keras.Input((4,)), L.Dense(2)])
    diagnosis = diagnose(model, models.samples(model, 10))
    assert (diagnosis.units, diagnosis.findings, diagnosis.ranks) == ((), (), ())
    assert set(diagnosis.measures) == {"norm-growth"}
    with pytest.raises(kp.errors.DataError):
        diagnose(model, np.zeros((3, 5), "float32"))


def test_ranks_are_those_of_the_outputs_and_the_lowest_share_is_the_measure():
    model = models.live_in(models.mlp())
    x = models.samples(model, 100)
    diagnosis = diagnose(model, x)
    assert diagnosis.ranks == kp.diagnostics.representation_ranks(model, x)
    worst = max(1 - site.effective / 8 for site in diagnosis.ranks)
    assert diagnosis.measures["unused-rank"] == pytest.approx(worst)


def test_norms_are_those_of_the_kernels_beside_a_reference():
    """A network whose second layer has grown threefold, and a bias that does not count."""
    model = models.live_in(models.mlp())
    reference = keras.models.clone_model(model)
    reference.set_weights(model.get_weights())
    kernel, bias = model.layers[1].get_weights()
    model.layers[1].set_weights([3 * kernel, 50 + bias])
    diagnosis = diagnose(model, models.samples(model, 20), reference=reference)
    for layer, measured in zip(model.layers, diagnosis.norms, strict=True):
        assert measured.path == layer.name
        assert measured.norm == pytest.approx(np.linalg.norm(layer.get_weights()[0]), rel=1e-6)
    assert [measured.growth for measured in diagnosis.norms] == pytest.approx([1.0, 3.0, 1.0])
    assert diagnosis.measures["norm-growth"] == pytest.approx(3.0)
    (finding,) = [each for each in diagnosis.findings if each.measure == "norm-growth"]
    assert f"most at '{model.layers[1].name}' (3 times)" in finding.text
    assert "keras_prelu.reset_norms scales them back" in finding.advice


def test_where_no_norm_can_be_reset_the_finding_says_why_and_advises_no_reset():
    """A layer between caps, which fix its scale."""
    model = keras.Sequential(
        [keras.Input((6,)), L.ReLU(6.0), L.Dense(8, name="grown"), L.ReLU(6.0), L.Dense(2)]
    )
    model.layers[1].kernel.assign(3 * keras.ops.convert_to_numpy(model.layers[1].kernel))
    before = model.get_weights()
    found = diagnose(model, models.samples(model, 20)).findings
    (finding,) = [each for each in found if each.measure == "norm-growth"]
    assert finding.advice.startswith("keras_prelu.reset_norms leaves them as they are")
    assert "'grown' ('re_lu" in finding.advice
    assert "has a cap" in finding.advice
    assert "reset-identity" not in finding.advice
    assert all(map(np.array_equal, model.get_weights(), before))


def test_where_a_reset_fails_the_finding_says_why_and_advises_no_reset(monkeypatch):
    def fail(model, **_):
        raise kp.errors.ConversionError("It changes what is computed.")

    model = models.live_in(models.mlp())
    model.layers[1].kernel.assign(3 * keras.ops.convert_to_numpy(model.layers[1].kernel))
    monkeypatch.setattr("keras_prelu.diagnostics.diagnosis.reset_norms", fail)
    found = diagnose(model, models.samples(model, 20)).findings
    (finding,) = [each for each in found if each.measure == "norm-growth"]
    kept = f"such as '{model.layers[1].name}' (It changes what is computed). Where"
    assert kept in finding.advice
    assert "reset-identity" not in finding.advice


class Coded(keras.Model):
    """A network without a graph."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = L.Dense(8, activation="relu"), L.Dense(2)

    def call(self, inputs):
        return self.second(self.first(inputs))


def test_a_subclassed_model_beside_itself():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(40, 6)).astype("float32"), rng.normal(size=(40, 2))
    model = Coded()
    model(data[0])
    found = diagnose(model, data, loss="mse", reference=model)
    assert found.gradient.norm == found.gradient.initial
    with pytest.raises(kp.errors.InvalidArgumentError, match="`reference` must be the same model"):
        diagnose(models.mlp(), models.samples(models.mlp(), 20), reference=model)


def test_weights_of_a_training_that_diverged_are_refused():
    model = models.mlp()
    model.layers[1].bias.assign(np.full(model.layers[1].bias.shape, np.nan))
    with pytest.raises(kp.errors.DataError, match=f"{model.layers[1].name}/bias' of model .* NaN"):
        diagnose(model, models.samples(model, 20))
    with pytest.raises(kp.errors.DataError, match="Diagnose weights from before"):
        diagnose(models.mlp(), models.samples(model, 20), reference=model)


def test_a_network_that_computes_zero_has_no_range_of_signals():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(40, 4)).astype("float32"), rng.normal(size=(40, 2))
    dense = [L.Dense(8, activation="relu", name="a"), L.Dense(2, name="b")]
    model = keras.Sequential([keras.Input((4,)), *dense])
    for weight in model.weights[:3]:  # All but the bias of the outputs.
        weight.assign(0 * weight)
    found = diagnose(model, data, loss="mse")
    assert found.measures["signal"] == 1.0
    model.layers[1].bias.assign([2.0, 2.0])
    texts = {finding.measure: finding.text for finding in diagnose(model, data).findings}
    assert texts["signal"] == "The second moments of the outputs are 0 at 'a' and 4 at 'b'."
    assert texts["dead"].endswith("These are counted on 40 samples; some may be active on others.")
    one = diagnose(model, data[0][:1]).findings[0]
    assert one.text.endswith("These are counted on 1 sample; some may be active on others.")


def test_a_gradient_that_can_not_be_told_from_zero():
    def sentence(norm, initial):
        return gradient_sentence(GradientNorm(samples=40, norm=norm, initial=initial))

    assert sentence(1.5, 0.25) == (
        "The gradient of the loss has a norm of 1.5, and 0.25 at initialization."
    )
    start, end = "The gradient of the loss ", ", on 40 samples."
    assert sentence(1.5, 0.0) == (
        f"{start}has a norm of 1.5, and at initialization it can't be told from 0{end}"
    )
    assert sentence(0.0, 2.0) == (
        f"{start}can't be told from 0, and at initialization it has a norm of 2{end}"
    )


def test_a_network_without_layers_that_are_measured():
    model = keras.Sequential([keras.Input((2, 3)), L.Flatten()])
    assert diagnose(model, models.samples(model, 10)).measures == {}


def test_norms_at_initialization_are_those_of_the_initializers():
    """Of a layer of 200 x 300 under He's initialization, √(2/200) a weight."""
    layer = L.Dense(300, kernel_initializer="he_normal")
    model = keras.Sequential([keras.Input((200,)), layer, L.ReLU(), L.Dense(2)])
    layer.kernel.assign(2 * keras.ops.convert_to_numpy(layer.kernel))
    first = diagnose(model, models.samples(model, 20)).norms[0]
    assert first.initial == pytest.approx(np.sqrt(200 * 300 * 2 / 200), rel=0.02)
    assert first.growth == pytest.approx(2.0, rel=0.02)


def linear_model(weights, bias):
    model = keras.Sequential([keras.Input((3,)), L.Dense(1, name="only")])
    model.set_weights([np.array(weights, "float32").reshape(3, 1), np.array([bias], "float32")])
    model.compile("sgd", "mse")
    return model


def test_gradient_norms_have_the_closed_form_of_a_linear_model():
    """The loss (w·x + b − y)² has the gradient 2 (w·x + b − y) (x, 1); equal samples, no noise."""
    row, target = np.array([1.0, -2.0, 0.5]), 3.0
    data = (np.tile(row, (32, 1)).astype("float32"), np.full((32, 1), target, "float32"))
    size = np.sqrt(np.sum(row**2) + 1)
    expected = [
        2 * abs(np.dot(weights, row) + bias - target) * size
        for weights, bias in (([0.5, 0.5, 1.0], 0.25), ([1.0, 0.0, 0.0], 0.0))
    ]
    diagnosis = diagnose(
        linear_model([0.5, 0.5, 1.0], 0.25), data, reference=linear_model([1.0, 0.0, 0.0], 0.0)
    )
    assert diagnosis.gradient.norm == pytest.approx(expected[0], rel=1e-5)
    assert diagnosis.gradient.initial == pytest.approx(expected[1], rel=1e-5)
    assert diagnosis.measures["gradient-loss"] == pytest.approx(expected[1] / expected[0], rel=1e-5)


def test_a_diagnosis_forecasts_nothing_and_says_so():
    model = models.live_in(models.mlp())
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([kernel, bias - 100])
    diagnosis = diagnose(model, models.samples(model, 20))
    assert "None of them forecasts" in diagnosis.note
    assert "try_recipes" in diagnosis.note
    (advice,) = [each.advice for each in diagnosis.findings if each.measure == "dead"]
    assert "identity-revived" in advice


def test_a_reference_with_other_layers_is_refused():
    model = models.live_in(models.mlp())
    with pytest.raises(kp.errors.InvalidArgumentError, match="reference"):
        diagnose(model, models.samples(model, 20), reference=models.convolutional())
