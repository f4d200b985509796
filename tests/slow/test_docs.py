"""The documentation: its snippets and commands run as written, page by page, its links lead
somewhere, and it names all that is public."""

import ast
import inspect
import json
import os
import re
from pathlib import Path

import pytest

import keras_prelu as kp
from tests.helpers import pages
from tests.slow.test_readme import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
BY_NAME = {str(page.relative_to(ROOT / "docs")): page for page in PAGES}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ON_TENSORFLOW = ("tutorial.md", "how_to/deploy.md")
"""Pages that run on the backend of most readers, like README; they write its formats too."""
HOME = "https://github.com/keras-prelu/keras-prelu/"


@pytest.mark.filterwarnings("default")  # Readers see warnings; they are no errors for them.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.tensorflow if name in ON_TENSORFLOW else ())
        for name, page in BY_NAME.items()
        if "```python" in page.read_text(encoding="utf-8")
    ],
)
def test_snippets_and_commands_run(name, tmp_path, monkeypatch):
    """They print what the page shows, but for figures, which differ between backends.
    `UPDATE_OUTPUTS=1` writes the outputs of the page anew, and belongs on TensorFlow."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # The wheel without a database has it.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    page = BY_NAME[name].read_text(encoding="utf-8")
    shown = pages.run(page, tmp_path, monkeypatch)
    if os.environ.get("UPDATE_OUTPUTS"):
        BY_NAME[name].write_text(shown, encoding="utf-8")
    assert pages.masked(shown) == pages.masked(BY_NAME[name].read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "page",
    [
        *PAGES,
        *ROOT.glob("*.md"),
        *(ROOT / "tools").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ],
    ids=str,
)
def test_links_lead_to_files_that_exist(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if target.startswith(HOME):
            path = re.sub(r"^(blob|tree)/main/", "", path.removeprefix(HOME))
            assert (ROOT / path).exists(), target
        elif not target.startswith(("http:", "https:", "mailto:")) and path:
            assert (page.parent / path).exists(), target
        assert not anchor or target.startswith("http"), (
            f"{target}: anchors are not checked; link the page"
        )


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs").glob("notebooks/*.ipynb")), ids=lambda p: p.stem
)
def test_notebooks_are_stored_without_outputs_and_open_in_colab(path):
    """The build of the site runs them."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    badge = "".join(cells[0]["source"]) + "".join(cells[1]["source"])
    name = path.relative_to(ROOT)
    assert (
        f"https://colab.research.google.com/github/keras-prelu/keras-prelu/blob/main/{name}"
        in badge
    )


def test_every_public_name_is_documented():
    """What the stub of the package names is listed one by one, or by a module with all of its
    members."""
    pages = (ROOT / "docs" / "reference" / "api").glob("*.md")
    reference = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    stub = ast.parse(
        (Path(inspect.getfile(kp)).parent / "__init__.pyi").read_text(encoding="utf-8")
    )
    names = {
        alias.asname
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    missing = [name for name in names if not re.search(rf":: keras_prelu\.{name}\b", reference)]
    assert sorted(missing) == ["KerasPReLUError", "__version__"]  # the first is a member of errors


def test_the_theory_names_files_that_exist():
    page = BY_NAME["explanation/theory.md"].read_text(encoding="utf-8")
    for kind, folder in (("Code", "keras_prelu"), ("Tests", "tests")):
        lists = re.findall(rf"\*{kind}:\*((?:\s+`[\w/.]+`[,.])+)", page)
        assert len(lists) == 10
        for name in re.findall(r"`([\w/]+\.py)`", " ".join(lists)):
            assert (ROOT / folder / name).exists(), name


def test_the_lowest_versions_are_those_that_are_asked_for():
    setup, table = (
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("setup.py", "docs/reference/compatibility.md")
    )
    lowest = dict(re.findall(r"^\| (\w+) \| ([\d.]+) \|", table, re.MULTILINE))
    assert list(lowest) == ["Python", "Keras", "TensorFlow", "JAX", "PyTorch"]
    assert f'python_requires=">={lowest.pop("Python")}"' in setup
    for name, version in lowest.items():
        assert f'"{name.lower().removeprefix("py")}>={version}"' in setup
