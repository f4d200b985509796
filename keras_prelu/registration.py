"""Registration of the classes of this package with Keras.

Saved models use the registered names, layer arguments the plain names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import keras

PACKAGE = "keras_prelu"

ClassT = TypeVar("ClassT", bound=type)


def serializable(*aliases: str) -> Callable[[ClassT], ClassT]:
    """Return a decorator that registers a class under `keras_prelu>Name`, and under each alias.

    Keras looks up a bare string such as `kernel_initializer="PReLUHeNormal"` among its custom
    objects under exactly that string, which the registered name alone does not satisfy.

    Args:
        *aliases: Strings. Plain names, such as `"PReLUHeNormal"` and `"prelu_he_normal"`.

    Returns:
        A class decorator.
    """

    def register(cls: ClassT) -> ClassT:
        registered: ClassT = keras.saving.register_keras_serializable(package=PACKAGE)(cls)
        for alias in aliases:
            keras.saving.get_custom_objects()[alias] = registered
        return registered

    return register
