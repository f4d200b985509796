"""tools.zoo: KerasHub's models, whose ReLUs are mostly inside custom layers, converted exactly and
back from a file."""

import json
from pathlib import Path

import keras
import pytest

from tools import zoo
from tools.zoo.applications import applications
from tools.zoo.report import markdown
from tools.zoo.trial import Trial, attempt

keras_hub = pytest.importorskip("keras_hub", reason="KerasHub is not installed")
from tools.zoo.hub import hub  # noqa: E402  needs KerasHub

FOLDER = Path(zoo.__file__).parent
STORED = {
    (record["collection"], record["model"]): record
    for record in json.loads((FOLDER / "results.json").read_text())
}

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore"),  # KerasHub's layers warn of much, converted or not
]


SLOW = ("BASNetBackbone", "BASNetImageSegmenter", "DFineBackbone", "T5Backbone relu")
"""Half a minute each, or more; `python -m tools.zoo` takes all."""


@pytest.mark.parametrize(
    ("name", "build"),
    [pytest.param(name, build, id=name) for name, build in hub() if name not in SLOW],
)
def test_kerashub(name, build):
    trial = attempt("KerasHub", name, build)
    assert trial.passed, trial
    stored = STORED["KerasHub", name]
    assert (trial.sites, trial.converted) == (stored["sites"], stored["converted"])
    keras.utils.clear_session()


def test_all_applications_and_models_are_in_the_stored_table():
    expected = [("keras.applications", name) for name, _ in applications()] + [
        ("KerasHub", name) for name, _ in hub()
    ]
    assert list(STORED) == expected
    assert all(not record["failure"] for record in STORED.values())


def test_the_stored_table_is_of_the_stored_results():
    """RESULTS.md is what the report makes of results.json, so neither was edited by hand; versions
    are those of the run."""
    trials = [
        Trial(
            **{
                **record,
                "left_alone": tuple((reason, count) for reason, count in record["left_alone"]),
            }
        )
        for record in STORED.values()
    ]
    assert all(trial.passed for trial in trials)
    assert rows(markdown(trials)) == rows((FOLDER / "RESULTS.md").read_text())


def rows(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def test_a_model_that_changes_is_noticed():
    """A layer whose configuration leaves something out."""

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

    trial = attempt("tests", "forgets", build)
    assert (trial.exact, trial.original_reloaded) == (False, False)
    assert not trial.passed
