"""keras_prelu.sites.activity: which rectifiers are measured, beside those in
tests/unit/diagnostics/test_dead_units.py."""

import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.sites.activity import ActivityProbe
from tests.helpers import custom


@pytest.mark.parametrize("converted", [False, True])
def test_functions_that_python_code_calls_are_left_out(converted):
    model = custom.around(custom.CallsFunctions(name="code"), shape=(3,))
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    dense = model.get_layer("code").dense
    expected = (x @ np.asarray(dense.kernel) + np.asarray(dense.bias) > 0).sum(axis=0)
    if converted:
        model = kp.convert(model, rescale="none", include="*")
    (measured,) = ActivityProbe(model, x)([x])
    assert measured.site.path == ("code/dense_prelu" if converted else "code/dense")
    np.testing.assert_array_equal(measured.active, expected)
    assert measured.inside
