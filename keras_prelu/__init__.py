"""PReLU layers for Keras 3, and surgery that turns a trained ReLU network into a PReLU network.

The public names are listed in `__init__.pyi` and imported when first used, so that `import
keras_prelu` costs milliseconds.
"""

import sys
from types import ModuleType

import lazy_loader
from wrapt import register_post_import_hook

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# The modules that define serializable classes, and the modules of this package that they import.
_SERIALIZABLE = (
    "keras_prelu.registration",
    "keras_prelu.backend.autodiff",
    "keras_prelu.backend.variables",
    "keras_prelu.backend.keras_internals.graph",
    "keras_prelu.backend.keras_internals.layers",
    "keras_prelu.backend.keras_internals.optimizers",
    "keras_prelu.backend.keras_internals.training",
    "keras_prelu.backend.keras_internals",
    "keras_prelu.backend.kernels",
    "keras_prelu.parameterizations",
    "keras_prelu.constraints",
    "keras_prelu.initializers",
    "keras_prelu.regularizers",
    "keras_prelu.ops",
    "keras_prelu.layer_arguments",
    "keras_prelu.layers",
    "keras_prelu.graph.functional",
    "keras_prelu.graph.rectifier_recognition",
    "keras_prelu.custom_layers.held_rectifiers",
    "keras_prelu.graph.hooks",
    "keras_prelu.graph.rebuilding",
    "keras_prelu.graph.output_names",
    "keras_prelu.custom_layers.converted_layer",
    "keras_prelu.training.slope_multipliers",
    "keras_prelu.training.slope_optimizer",
)


def _register_with_keras(imported: ModuleType) -> None:
    """Import the serializable classes, so that saved models that use them load."""
    # This flag of the import system is private, but nothing public tells whether a module's body
    # has been executed to its end.
    others = [
        sys.modules[name]
        for name in _SERIALIZABLE
        if name in sys.modules and name != imported.__name__
    ]
    if any(getattr(module.__spec__, "_initializing", False) for module in others):
        # One of these modules is importing Keras right now, and the others can't import that module
        # before it is complete. The hook of that module is called at its end.
        return
    from keras_prelu import (  # noqa: F401
        constraints,
        initializers,
        layers,
        parameterizations,
        regularizers,
    )
    from keras_prelu.custom_layers import converted_layer  # noqa: F401
    from keras_prelu.graph import output_names  # noqa: F401
    from keras_prelu.training import slope_optimizer  # noqa: F401


# Keras resolves a saved layer by its registered name, so registration can't wait for the first use
# of kp.PReLU, and importing Keras here would take seconds. The hook is called when Keras is
# imported, or at once if Keras is already imported.
for _module in ("keras", *_SERIALIZABLE):
    register_post_import_hook(_register_with_keras, _module)
