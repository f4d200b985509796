"""The directive `plotted`: Python code with the figure that it returns.

The blocks of a page are one program, which runs when the page is read. A block whose last
expression is a matplotlib figure shows it below the code.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from keras_prelu.report.figures import make_narrow

FOLDER = "_plotted"
"""In the folder of the sources, where Sphinx looks for images."""


class Plotted(SphinxDirective):
    has_content = True
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012 # As docutils has it.

    def run(self) -> list[nodes.Node]:
        code = "\n".join(self.content)
        block = nodes.literal_block(code, code, language="python")
        names = self.env.temp_data.setdefault("plotted", {})
        try:
            result = run_block(code, names)
        except Exception as error:
            raise self.error(f"{type(error).__name__}: {error}") from error
        if not hasattr(result, "savefig"):
            return [block]
        if "alt" not in self.options:
            raise self.error("A figure needs :alt:, what it shows in words.")
        digest = hashlib.sha256(code.encode()).hexdigest()[:12]
        name = f"{self.env.docname.replace('/', '-')}-{digest}"
        wide = self._image(result, f"{name}.svg", "wide-screen")
        make_narrow(result)
        return [block, wide, self._image(result, f"{name}-narrow.svg", "narrow-screen")]

    def _image(self, figure: Any, name: str, shown_on: str) -> nodes.image:
        """Save a figure, and return the node that shows it on screens of a kind."""
        path = Path(self.env.srcdir, FOLDER, name)
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
        return nodes.image(uri=f"/{FOLDER}/{name}", alt=self.options["alt"], classes=[shown_on])


def run_block(code: str, names: dict[str, Any]) -> Any:
    """Run code in a namespace, and return the value of its last line if that is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<page>", "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "<page>", "eval"), names)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("plotted", Plotted)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
