"""Names of models: files, folders, and what other packages publish under a name.

Nothing is loaded here, so that the command line can parse names without Keras.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from keras_prelu.utils.suggestions import nearest

__all__ = ["KINDS", "ModelName", "beside"]

KINDS = ("applications", "keras_hub", "hf")
"""The packages whose models have names: `keras.applications`, KerasHub, and Hugging Face."""

_ALIASES = {
    "huggingface": "hf",
    "keras_applications": "applications",
    "keras_nlp": "keras_hub",
    "kerashub": "keras_hub",
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z_.-]+):(?!\\)(.*)", re.DOTALL)


class ModelName(str):
    """A model as a user names it: a path, "applications:NAME", "keras_hub:PRESET" or "hf://…".

    It is a string, and prints as the user wrote it.

    Attributes:
        kind: String. One of `KINDS`, or "file" for a path of a file or folder.
        rest: String. The name without its kind; for a path, the path.
    """

    kind: str
    rest: str

    def __new__(cls, text: str | os.PathLike[str]) -> ModelName:
        """Return the name in a text or path."""
        name = super().__new__(cls, os.fspath(text))
        kind, separator, rest = str(name).partition(":")
        if separator and kind in KINDS:
            name.kind, name.rest = kind, rest.removeprefix("//") if kind == "hf" else rest
        else:
            name.kind, name.rest = "file", str(name)
        return name

    @property
    def is_file(self) -> bool:
        """Whether this is the path of a file or folder."""
        return self.kind == "file"

    @property
    def path(self) -> Path:
        """The path of the file or folder, or of a file of that name in the working directory."""
        if self.is_file:
            return Path(self)
        return Path(f"{re.split('[/:]', self.rest.rstrip('/'))[-1] or self.kind}.keras")

    def meant(self) -> str:
        """Return the name of another kind that a path which does not exist may stand for, or ""."""
        found = _SCHEME.fullmatch(str(self))
        if not self.is_file or found is None:
            return ""
        written = found[1].lower().replace("-", "_").replace(".", "_")
        near = nearest(written, [*KINDS, *_ALIASES], cutoff=0.75)
        kind = _ALIASES.get(near[0], near[0]) if near else ""
        rest = found[2].removeprefix("//")
        return f"{kind}:{'//' if kind == 'hf' else ''}{rest}" if kind else ""


def beside(path: str | os.PathLike[str], suffix: str) -> Path:
    """Return `model.<suffix>.keras` in the folder of `model.keras` or `model.weights.h5`.

    For a name, and for `.` and `..`, the folder is the working directory.

    Args:
        path: String or path. The model.
        suffix: String. The suffix to insert into the file name.
    """
    path = ModelName(path).path
    if path.name in ("", ".."):  # `.`, `..` and `/` are folders without a name of their own.
        return Path(f"{path.resolve().name or 'model'}.{suffix}.keras")
    stem = path.stem if path.suffix in (".keras", ".h5", ".hdf5") else path.name
    return path.parent / f"{stem.removesuffix('.weights')}.{suffix}.keras"
