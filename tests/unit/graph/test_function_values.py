"""What the functions of a model refer to."""

import keras

from keras_prelu.graph import function_values
from keras_prelu.graph.function_values import referred_to

MOST_LOOKUPS = 20


class Countdown:
    """An object whose methods call each other."""

    def __init__(self):
        self.limit = keras.layers.Dense(1)

    def down(self, number):
        return self.up(number - 1) if number else self.limit

    def up(self, number):
        return self.down(number)


def test_methods_that_call_each_other_are_followed_once(monkeypatch):
    lookups = []

    def looked_up(function):
        lookups.append(function)
        assert len(lookups) <= MOST_LOOKUPS, "the methods are followed without an end"
        return direct_references(function)

    direct_references = function_values._direct_references
    monkeypatch.setattr(function_values, "_direct_references", looked_up)
    countdown = Countdown()
    found = referred_to(countdown.down)
    assert any(each is countdown.limit for each in found)
    assert {each.__name__ for each in found if hasattr(each, "__func__")} == {"up", "down"}
