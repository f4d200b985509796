"""keras_prelu.utils.user_warnings: a warning names the line that called the package."""

import inspect

import keras
import pytest

import keras_prelu as kp
from keras_prelu.errors import KerasPReLUWarning

NAN = keras.initializers.Constant(float("nan"))


def convert(model):
    kp.convert(model)


def run_conversion(model):
    kp.run_conversion(model)


@pytest.mark.parametrize("call", [convert, run_conversion])
def test_a_warning_names_the_line_of_the_caller(call):
    """However many functions of the package are between that line and the warning."""
    hidden = keras.layers.Dense(3, activation="relu", bias_initializer=NAN)
    model = keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(2)])
    with pytest.warns(KerasPReLUWarning, match="NaN or infinite") as record:
        call(model)
    own = [warning for warning in record if warning.category is KerasPReLUWarning]
    places = {(warning.filename, warning.lineno) for warning in own}
    assert places == {(__file__, inspect.getsourcelines(call)[1] + 1)}
