"""keras_prelu.sites.activity: which rectifiers are measured, beside those in
tests/unit/diagnostics/test_unit_counts.py."""

import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.sites.activity import ActivityProbe
from tests.helpers import custom


@pytest.mark.parametrize("converted", [False, True])
def test_functions_that_python_code_calls_are_measured(converted):
    model = custom.around(custom.CallsFunctions(name="code"), shape=(3,))
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    dense = model.get_layer("code").dense
    by_dense = (x @ np.asarray(dense.kernel) + np.asarray(dense.bias) > 0).sum(axis=0)
    by_function = (x[:, :1] > 0).sum(axis=0)
    if converted:
        model = kp.convert(model, rescale="none", include="*")
    measured = ActivityProbe(model, x)([x])
    end = "_prelu" if converted else "()"
    assert [each.site.path for each in measured] == [
        "code/dense_prelu" if converted else "code/dense",
        f"code/relu{end}",
        f"code/relu6{end}",
    ]
    for each, expected in zip(measured, (by_dense, by_function, by_function), strict=True):
        np.testing.assert_array_equal(each.active, expected)
        assert each.inside
