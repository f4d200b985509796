"""PReLU layers for Keras 3, and surgery that turns a trained ReLU network into a PReLU network.

The public names are listed in `__init__.pyi` and imported when first used, so that `import keras_prelu` costs milliseconds.
"""

import lazy_loader
from wrapt import register_post_import_hook

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _register_with_keras(_keras: object) -> None:
    """Import the serializable classes, so that saved models that use them load."""
    from keras_prelu import constraints, initializers, layers, parameterizations, regularizers  # noqa: F401
    from keras_prelu.training import slopes  # noqa: F401


# Keras resolves a saved layer by its registered name, so registration can't wait for a first use of kp.PReLU; importing Keras
# here would cost seconds. The hook runs when Keras is imported, or at once where it already is.
register_post_import_hook(_register_with_keras, "keras")
