"""What the functions of a model refer to."""

import keras

from keras_prelu.graph.function_values import referred_to


class Countdown:
    """An object whose methods call each other."""

    def __init__(self):
        self.limit = keras.layers.Dense(1)

    def down(self, number):
        return self.up(number - 1) if number else self.limit

    def up(self, number):
        return self.down(number)


def test_methods_that_call_each_other_are_followed_once():
    countdown = Countdown()
    found = referred_to(countdown.down)
    assert any(each is countdown.limit for each in found)
    assert {each.__name__ for each in found if hasattr(each, "__func__")} == {"up", "down"}
