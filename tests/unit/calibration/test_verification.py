"""keras_prelu.calibration.verification: what is said of a large error."""

import math

from keras_prelu.calibration.records import Calibration, LayerCalibration
from keras_prelu.calibration.verification import LARGE_ERROR, large_error_note


def calibration(error_after, errors):
    layers = tuple(
        LayerCalibration(
            path=path,
            layer="Dense",
            rows=1,
            unknowns=1,
            ridge=None,
            error_before=None,
            error_after=error,
            action="refitted",
        )
        for path, error in errors.items()
    )
    return Calibration(
        samples=5, held_out=1, error_before=1.0, error_after=error_after, kept=True, layers=layers
    )


ERRORS = {"a": 0.01, "b": 0.31, "kept": None, "c": 0.3, "nan": math.nan, "d": 0.35, "e": 0.45}


def test_the_layers_where_the_error_grows_most_are_named():
    note = large_error_note(calibration(0.4, ERRORS))
    assert "0.4, more than 0.2" in note
    assert (
        "grows most at 'b' (by 0.3 to 0.31), 'e' (by 0.1 to 0.45), 'd' (by 0.05 to 0.35)." in note
    )
    for advice in ("Smaller slopes", "more samples", "exclude"):
        assert advice in note


def test_nothing_is_said_up_to_the_bound():
    assert large_error_note(calibration(LARGE_ERROR, ERRORS)) == ""


def test_without_errors_of_layers_the_error_is_said_all_the_same():
    note = large_error_note(calibration(0.5, {"kept": None}))
    assert "0.5" in note
    assert "grows" not in note
