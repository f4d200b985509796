"""keras_prelu.errors: reasons that other libraries give, on one line."""

import keras
import pytest

from keras_prelu.errors import reason_of


class Fails(keras.layers.Layer):
    def call(self, x):
        raise ValueError("own\nreason.")


def test_the_reason_of_keras_is_what_it_prints_in_bold():
    with pytest.raises(ValueError, match="Arguments received") as caught:
        Fails()(keras.ops.ones((1, 2)))
    assert reason_of(caught.value) == "own reason"


def test_an_error_without_a_message_has_the_name_of_its_class():
    assert reason_of(KeyError()) == "KeyError"
