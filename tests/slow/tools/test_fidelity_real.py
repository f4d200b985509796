"""tools.fidelity --part real: networks from packages are those that their authors run, and a trial.

Small packages are fetched into a temporary folder; where they can't be, the tests are skipped.
"""

from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import keras_prelu as kp
from keras_prelu.cli.main import main
from tests.slow.tools.reports import check_stored, run
from tools.common.packages import Package, Packages, PackageUnavailable
from tools.common.processes import WorkerFailed
from tools.common.storage import Storage
from tools.fidelity import __main__ as command
from tools.fidelity.effort import Effort
from tools.fidelity.real import part
from tools.fidelity.real.crepe import cents, pitch_loss
from tools.fidelity.real.measure import Kept, RealModel
from tools.fidelity.real.networks import NETWORKS
from tools.fidelity.real.settings import DEFAULT, EXPORTED
from tools.fidelity.real.upscaler import peak_signal_to_noise

pytestmark = pytest.mark.filterwarnings("ignore")

FOLDER = Path(command.__file__).parent
BY_NAME = {network.name: network for network in NETWORKS}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    return Packages(tmp_path_factory.mktemp("packages"))


def fetched(name, packages):
    """Return a network whose packages are there."""
    network = BY_NAME[name]
    try:
        packages.fetch(network.packages)
    except PackageUnavailable as error:
        pytest.skip(error.message)
    return network


@pytest.mark.parametrize("name", ["upscaler", "Basic Pitch", "EfficientNet-Lite0, 96 px"])
def test_networks_are_those_of_their_authors(name, packages):
    original = fetched(name, packages).original
    assert original.difference(packages) <= original.tolerance


def test_a_file_converted_on_the_command_line_computes_the_same(tmp_path, monkeypatch, packages):
    monkeypatch.chdir(tmp_path)
    model = fetched("EfficientNet-Lite0, 96 px", packages).build(packages)
    model.save("model.keras")
    result = CliRunner().invoke(main, ["convert", "model.keras"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    x = np.random.default_rng(0).uniform(-1, 1, (8, 96, 96, 3)).astype("float32")
    converted = kp.load_model("model.prelu.keras")
    assert len(kp.diagnostics.layer_slopes(converted)) == 33
    expected = model.predict(x, verbose=0)
    np.testing.assert_array_equal(converted.predict(x, verbose=0), expected)
    assert np.isfinite(expected).all()


@pytest.mark.tensorflow  # which writes TensorFlow Lite files
def test_a_trial(tmp_path, packages):
    fetched("upscaler", packages)
    storage = run(command, tmp_path, "--trial", "--part=real", f"--packages={packages.root}")
    model, default, calibrated, tuned = storage.results("real")
    assert (model.sites, model.difference) == (4, pytest.approx(0.5, abs=0.01))
    assert (default.setting, default.difference, default.slope) == ("default", 0, 0)
    assert calibrated.error < 0.01
    assert calibrated.exports["baked"] < 1e-5
    assert calibrated.exports["tflite"] < 1e-4
    assert calibrated.exports["onnx"] < 1e-4
    assert tuned.chosen == "identity"
    text = (tmp_path / "RESULTS.md").read_text()
    assert text == storage.markdown()
    assert "| upscaler | 0.25 | 16 |" in text


def test_stored_results_are_of_every_network_and_none_is_changed_by_default():
    stored = check_stored(FOLDER, command.REPORT).results("real")
    models = {result.network: result for result in stored if isinstance(result, RealModel)}
    assert set(models) == set(BY_NAME)
    for name, network in BY_NAME.items():
        assert models[name].value is None or models[name].value > 30
        if network.original is not None:
            assert models[name].difference <= network.original.tolerance
    defaults = {
        result.network: result.difference
        for result in stored
        if isinstance(result, Kept) and result.setting == DEFAULT.name
    }
    assert defaults == dict.fromkeys(BY_NAME, 0)
    positive = {
        (result.network, result.setting)
        for result in stored
        if isinstance(result, Kept) and not result.failure
    }
    cheap = [name for name, network in BY_NAME.items() if not network.is_costly]
    assert {(name, EXPORTED) for name in cheap} <= positive


def test_networks_that_cant_be_fetched_are_left_out(tmp_path, monkeypatch, capsys):
    def fetch(self, wanted: tuple[Package, ...]) -> None:
        if any(package.registry == "npm" for package in wanted):
            raise PackageUnavailable("it can't be fetched")

    monkeypatch.setattr(Packages, "fetch", fetch)
    monkeypatch.setattr(part, "measured", lambda name, *_arguments, **_numbers: [kept(name)])
    storage, packages = Storage(tmp_path, command.REPORT), Packages(tmp_path)
    part.measure_real(storage, Effort(only="px, 0.1"), packages)
    measured = {result.network for result in storage.results("real")}
    assert measured == {"EfficientNet-Lite0, 96 px", "EfficientNet-Lite0, 224 px"}
    part.measure_real(storage, Effort(only=", 0.1"), packages)
    assert "Skipped upscaler: it can't be fetched" in capsys.readouterr().err
    with pytest.raises(PackageUnavailable):  # nothing was measured
        part.measure_real(storage, Effort(only="upscaler"), packages)


def test_a_process_that_was_killed_is_a_result(tmp_path, monkeypatch):
    def killed(*_arguments, **_numbers):
        raise WorkerFailed("worker", -9, "")
        yield

    monkeypatch.setattr(part, "measured", killed)
    monkeypatch.setattr(Packages, "fetch", lambda *_: None)
    storage = Storage(tmp_path, command.REPORT)
    part.measure_real(storage, Effort(only="CREPE full, 0.25"), Packages(tmp_path))
    assert [result.failure for result in storage.results("real")] == ["ended by signal 9"]
    assert "| CREPE full | 0.25 | 512 | – | – | – | **ended by signal 9** |" in storage.markdown()


def kept(network, **fields):
    return Kept(
        network=network, setting="0.1", samples=512, seed=0, error=0.1, seconds=1.0, **fields
    )


def test_the_loss_of_a_pitch_is_least_where_it_is_heard():
    """The targets are those of the authors: a bin 25 cents away is at exp(-1/2)."""
    bins = 1997.3794084376191 + 20 * np.arange(360, dtype="float32")
    heard = bins[200] + 5
    targets = np.exp(-0.5 * ((bins - heard) / 25) ** 2).clip(1e-9, 1 - 1e-9)
    logits = np.log(targets / (1 - targets))[None].repeat(3, 0).astype("float32")
    losses = keras.ops.convert_to_numpy(
        pitch_loss(heard + np.array([0, 40, -40], "float32"), keras.ops.convert_to_tensor(logits))
    )
    assert losses.shape == (3,)
    entropy = -np.mean(targets * np.log(targets) + (1 - targets) * np.log(1 - targets))
    np.testing.assert_allclose(losses[0], entropy, rtol=1e-3)
    assert min(losses[1:]) > 2 * losses[0]
    assert abs(cents(logits[:1])[0] - heard) < 2


def test_pitches_and_images_are_judged_as_usual():
    logits = np.full((1, 360), -100.0)
    logits[0, 100:103] = (0.0, 2.0, 0.0)
    np.testing.assert_allclose(cents(logits), 1997.3794084376191 + 20 * 101)
    image = np.zeros((1, 32, 32, 3))
    assert peak_signal_to_noise(image + 2.55, image) == pytest.approx(40.0)
