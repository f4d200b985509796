"""A report on a conversion: what it kept, what it changed, what it costs, and what is not known.

`gather` measures the facts (`report.content`), `report.html.write` writes them as a page, and
`report.figures` draws its plots, also for notebooks.
"""

from keras_prelu.report.content import Network, Report, gather

__all__ = ["Network", "Report", "gather"]
