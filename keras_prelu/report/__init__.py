"""A page about a conversion: what it kept, what it changed, what it costs, and what can't be
concluded. Plots for notebooks too."""

from keras_prelu.report.content import Network, Report, gather

__all__ = ["Network", "Report", "gather"]
