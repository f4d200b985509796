"""keras_prelu.utils.checks: single arguments."""

from pathlib import Path

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.errors import FileError, InvalidArgumentError
from keras_prelu.utils.checks import check_integer, check_number, check_path


@pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(1)])
def test_integers(value):
    check_integer("n", value, minimum=1)


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, None, np.float32(2), float("nan"), [1]])
def test_what_is_no_such_integer(value):
    with pytest.raises(InvalidArgumentError, match="`n` must be an integer of at least 1"):
        check_integer("n", value, minimum=1)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(3), np.int64(2)])
def test_numbers(value):
    check_number("rate", value, above=0.0)
    check_number("rate", value, minimum=0.5)
    check_number("rate", -value)


@pytest.mark.parametrize(
    "value", [0, -1.0, "1", "2x", True, None, float("nan"), float("inf"), 1j, [1.0]]
)
def test_what_is_no_such_number(value):
    with pytest.raises(InvalidArgumentError, match="`rate` must be a finite number above 0"):
        check_number("rate", value, above=0.0)
    if value != 0:
        with pytest.raises(InvalidArgumentError, match="of at least 0"):
            check_number("rate", value, minimum=0.0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"budget": "2x"}, "budget='2x'"),
        ({"budget": 0}, "budget=0"),
        ({"budget": float("nan")}, "budget=nan"),
        ({"epochs": "1"}, "epochs='1'"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"epochs": True}, "epochs=True"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"learning_rate": -0.1}, "learning_rate=-0.1"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"learning_rate": "fast"}, "learning_rate='fast'"),
        ({"seed": -1}, "seed=-1"),
        ({"slope_multiplier": float("inf")}, "multiplier=inf"),
        ({"slope_warmup_epochs": float("nan")}, "warmup_epochs=nan"),
        ({"slope_frozen_epochs": "1"}, "frozen_epochs='1'"),
        ({"slope_clipnorm": -1}, "clipnorm=-1"),
    ],
)
def test_arguments_of_finetune(arguments, named):

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="relu")])
    x, y = np.zeros((8, 2), "float32"), np.zeros((8, 2), "float32")
    with pytest.raises(InvalidArgumentError, match=named) as caught:
        kp.finetune(model, (x, y), (x, y), loss="mse", **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "use",
    [
        lambda model, x: kp.diagnostics.dead_units(model, x, batch_size=0),
        lambda model, x: kp.diagnostics.signal_by_depth(model, x, batch_size=0),
        lambda model, x: kp.diagnostics.signal_by_depth(model, x, probes=0.5),
        lambda model, x: kp.diagnostics.gradient_noise(model, (x, x), loss="mse", limit=-1),
        lambda model, x: kp.diagnostics.gradient_noise(model, (x, x), loss="mse", group="8"),
        lambda model, x: kp.diagnostics.layer_similarity(model, model, x, limit=-3),
        lambda model, x: kp.compare(model, model, (x, x), loss="mse", margin=float("nan")),
        lambda model, x: kp.revive(model, x, threshold="0.1"),
        lambda model, x: kp.revive(model, x, threshold=float("nan")),
        lambda model, x: kp.calibrate(model, model, x, ridge="1"),
        lambda model, x: kp.calibrate(model, model, x, batch_size=2.5),
    ],
)
def test_arguments_of_other_functions(use):

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="relu")])
    with pytest.raises(InvalidArgumentError, match="must be a"):
        use(model, np.zeros((8, 2), "float32"))


def test_paths():
    assert check_path("path", "a.keras") == check_path("path", Path("a.keras")) == Path("a.keras")
    for value in (None, 3, b"a.keras", ["a"], keras.Sequential()):
        with pytest.raises(InvalidArgumentError, match="`path` must be a string or a path"):
            check_path("path", value)
    with pytest.raises(InvalidArgumentError, match="`path` must be a path"):
        check_path("path", "")


@pytest.mark.parametrize(
    "call",
    [
        lambda model: kp.load_model(model),
        lambda model: kp.save_model("model.keras", model),
        lambda model: kp.export("model.keras", model),
        lambda model: kp.export(model, model),
    ],
)
def test_models_and_paths_that_are_exchanged(call):
    # Where a model may be a path, the path is looked up.
    with pytest.raises((InvalidArgumentError, FileError), match=r"must be a|No such file"):
        call(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
