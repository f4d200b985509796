"""Formulas as MathML, which browsers draw themselves, without scripts.

They come with a font for formulas, since not every system has one: without it, roots, braces and
sums don't grow. It is STIX Two Math (SIL Open Font License), with the characters of formulas alone.
"""

from __future__ import annotations

import logging
from importlib import resources
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from fontTools import subset
from sphinx.application import Sphinx

FONT = "formulas.woff"
"""In _static; site.css names it."""
CHARACTERS = (
    *range(0x20, 0x7F),  # Latin.
    *range(0xA0, 0x100),
    *range(0x391, 0x3D7),  # Greek.
    *range(0x2010, 0x2035),  # Dashes, primes.
    *range(0x2190, 0x2200),  # Arrows.
    *range(0x2200, 0x2300),  # Operators.
    *range(0x2308, 0x230C),
    *range(0x23DC, 0x23E2),  # Braces above and below.
    0x210E,  # Italic letters, in which variables are drawn.
    *range(0x1D434, 0x1D468),
    *range(0x1D6E2, 0x1D71C),
)


def inline(writer: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    writer.body.append(_markup(node, as_block=False))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own, which scrolls where it is wider than the page."""
    writer.body.append(f'<div class="formula">{_markup(node, as_block=True)}</div>')
    raise nodes.SkipNode


def _markup(node: nodes.Element, *, as_block: bool) -> str:
    return latex2mathml.tex2mathml(node.astext(), as_block=as_block).replace("\n", "")


def write_font(app: Sphinx, failure: Exception | None) -> None:
    """Write the font beside the pages."""
    if failure is not None or app.builder.format != "html":
        return
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    options = subset.Options(flavor="woff", layout_features=["ssty", "dtls"])
    with resources.as_file(resources.files("ziamath.fonts") / "STIXTwoMath-Regular.ttf") as path:
        font = subset.load_font(str(path), options)
    reduction = subset.Subsetter(options)
    reduction.populate(unicodes=CHARACTERS)
    reduction.subset(font)
    subset.save_font(font, str(Path(app.outdir, "_static", FONT)), options)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("build-finished", write_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
