"""How the package is installed: setup.py, the conda recipe, the documentation and what messages ask
for agree."""

import ast
import re
from pathlib import Path

import yaml

import keras_prelu

ROOT = Path(__file__).parents[2]
SETUP = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
NAMED_EXTRA = re.compile(r"keras-prelu\[([\w,]+)\]")
INSTALLED = re.compile(r"pip install ([a-z][\w-]*)")


def value(name):
    """Return the value of a variable or keyword in setup.py."""
    for node in ast.walk(SETUP):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
        if isinstance(node, ast.keyword) and node.arg == name:
            return ast.literal_eval(node.value)
    raise KeyError(name)


def names(requirements):
    return {re.match(r"[\w-]+", each)[0].lower().replace("_", "-") for each in requirements}


def sources():
    for path in sorted((ROOT / "keras_prelu").rglob("*.py")):
        # Messages are split over lines.
        yield path, re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))


def test_messages_and_pages_name_extras_that_exist():
    extras = {*value("EXTRAS"), "all"}
    pages = [
        (path, path.read_text(encoding="utf-8"))
        for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    ]
    found = {
        (path.name, extra)
        for path, text in [*sources(), *pages]
        for match in NAMED_EXTRA.finditer(text)
        for extra in match[1].split(",")
    }
    assert {extra for _, extra in found} >= {"all", "data", "hub", "onnx", "report"}
    assert {extra for _, extra in found} <= extras


def test_messages_ask_for_the_extra_rather_than_for_its_packages():
    of_extras = names(package for extra in value("OPTIONAL") for package in value("EXTRAS")[extra])
    asked = {(path.name, name) for path, text in sources() for name in INSTALLED.findall(text)}
    assert {name for _, name in asked} & of_extras == set()


def test_the_conda_recipe_asks_for_what_the_package_asks_for():
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == keras_prelu.__version__
    asked = {"".join(each.split()).replace("_", "-") for each in recipe["requirements"]["run"]}
    assert asked == {*value("install_requires"), f"python{value('python_requires')}"}
    (command,) = value("entry_points")["console_scripts"]
    assert recipe["build"]["python"]["entry_points"] == [command.replace("=", " = ")]


def test_the_container_has_extras_that_exist():
    defaults = dict(
        re.findall(r"^ARG (\w+)=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    )
    assert {*defaults["EXTRAS"].split(",")} <= {*value("EXTRAS"), "all"}
    assert [re.sub(r">=.*", "", each) for each in value("EXTRAS")["gpu"]] == [defaults["CUDA"]]
