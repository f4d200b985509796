"""keras_prelu.utils.printable: what a terminal would carry out is shown instead."""

import pytest

from keras_prelu.utils.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe – 3 × α\tb\n", "Größe – 3 × α\tb\n"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\rb\x07", "a\\rb\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eabc", "\\u202eabc"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown
