"""Fine-tuning a converted model together with its control."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["recipes"])
