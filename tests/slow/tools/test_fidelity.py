"""tools.fidelity: a trial of its parts, and that it reports what was measured."""

from pathlib import Path

import keras
import pytest

from tests.slow.tools.reports import check_stored, run
from tools.fidelity import __main__ as command
from tools.fidelity.applications import applications
from tools.fidelity.conversion import attempt
from tools.fidelity.effort import Effort
from tools.fidelity.tasks import tasks

FOLDER = Path(command.__file__).parent

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras, and scikit-learn warn of training


@pytest.fixture(scope="module")
def stored():
    return check_stored(FOLDER, command.REPORT)


def test_a_trial(tmp_path, monkeypatch):
    parts = [
        f"--part={part}"
        for part in ("calibration", "cost", "memory", "photographs", "smooth", "smooth-cost")
    ]
    storage = run(command, tmp_path, "--trial", *parts)
    errors = {result.rescale: result.error for result in storage.results("calibration")}
    assert set(errors) == {"none", "analytic", "moments", "calibrated", "auto"}
    assert errors["calibrated"] < 0.1 * errors["none"]
    assert storage.results("cost")[0].predictions > 1
    (smooth,) = storage.results("smooth")
    assert smooth.sites == 2
    assert smooth.error < smooth.error_fixed
    costs = storage.results("smooth-cost")
    assert {cost.slopes for cost in costs} == {"each channel", "each layer"}
    assert all(cost.sites == 19 and cost.ratio > 0 for cost in costs)
    photographs = storage.results("photographs")
    assert [result.rescale for result in photographs] == ["none", "calibrated"]
    assert "| diabetes regression |" in (tmp_path / "RESULTS.md").read_text()
    # A stored network is not measured again.
    monkeypatch.setattr(command, "photograph_calibrations", None)
    assert run(command, tmp_path, "--trial", "--part=photographs").parts == storage.parts


def test_all_networks_are_in_the_stored_tables(stored):
    converted = stored.results("applications")
    assert [result.model for result in converted] == [name for name, _ in applications()]
    assert all(result.passed for result in (*converted, *stored.results("hub")))
    assert {(r.task, r.seed) for r in stored.results("calibration")} == {
        (task.name, seed) for task in tasks() for seed in range(Effort().seeds)
    }
    photographs = {result.name for result in stored.results("photographs")}
    assert photographs == set(Effort().photographs.networks)


def test_a_model_that_changes_is_noticed():
    """A layer whose configuration omits an argument."""

    @keras.saving.register_keras_serializable("tests")
    class Forgets(keras.layers.Layer):
        def __init__(self, factor=1.0, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, inputs):
            return self.factor * inputs

        def get_config(self):
            return {"name": self.name}

    def build():
        return keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(3, activation="relu"), Forgets(2.0)]
        )

    result = attempt("tests", "forgets", build)
    assert result.exact is None  # refused: the conversion compares its predictions
    assert not result.passed
