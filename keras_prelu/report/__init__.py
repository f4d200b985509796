"""A report on a conversion: what it kept, what it changed, what it costs, and what is not known.

`gather` measures the facts (`report.content`), `report.html.write` writes them as a page, and
`report.figures` draws its plots, also for notebooks.
"""

import lazy_loader

from keras_prelu.report.content import Network, Report, gather

__all__ = ["Network", "Report", "gather"]

# Drawn figures need matplotlib, and pages Jinja2, so these modules are imported when first used.
__getattr__, __dir__, _ = lazy_loader.attach(__name__, submodules=["figures", "html"])
