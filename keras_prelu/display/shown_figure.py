"""A matplotlib figure that notebooks show by themselves."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

__all__ = ["ShownFigure"]


class ShownFigure(Figure):
    """A figure that notebooks show as SVG.

    They show matplotlib's own figures only where pyplot has been imported, which none is made with.
    """

    def _repr_svg_(self) -> str:
        file = io.StringIO()
        self.savefig(file, format="svg", metadata={"Date": None})
        return file.getvalue()
