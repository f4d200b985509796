"""Folders that hold a model: of Keras, of KerasHub, or with a model file."""

from __future__ import annotations

import json
from pathlib import Path

from keras_prelu.errors import FileError

__all__ = ["model_in", "only_file"]

_SAVED_MODEL = (
    "A SavedModel holds compiled functions, not the layers that a conversion replaces: load it"
    " where its code is, and save it with model.save('model.keras')."
)
_OF_PRESETS = ("task.json", "preprocessor.json", "tokenizer.json", "image_converter.json")


def model_in(folder: Path) -> str:
    """Return what kind of model a folder holds, by its files alone.

    Returns:
        "keras" for what `model.save(folder, zipped=False)` writes, "preset" for what KerasHub
        loads, "" for anything else.
    """
    config = _json(folder / "config.json")
    if config is None:
        return ""
    metadata = _json(folder / "metadata.json") or {}
    if "keras_hub_version" in metadata or "keras_nlp_version" in metadata:
        return "preset"
    if any((folder / name).exists() for name in _OF_PRESETS):
        return "preset"
    if "model_type" in config or "architecture" in config:  # Of transformers, and of timm.
        return "preset"
    return "keras"


def only_file(folder: Path, name: str) -> Path:
    """Return the one `.keras` or `.h5` file in a folder.

    Args:
        folder: Path. The folder.
        name: String. What the user called it.

    Raises:
        FileError: There is none, or there are several.
    """
    if (folder / "saved_model.pb").exists():
        raise FileError(f"'{name}' is a folder. {_SAVED_MODEL}")
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix in (".keras", ".h5") and not path.name.endswith(".weights.h5")
    )
    if len(found) == 1:
        return found[0]
    if not found:
        raise FileError(
            f"'{name}' is a folder without a model: neither config.json, as Keras and KerasHub"
            " write it, nor a .keras file. Save one with model.save('model.keras')."
        )
    names = ", ".join(path.name for path in found[:5])
    raise FileError(f"'{name}' is a folder with several models: {names}. Name the file.")


def _json(path: Path) -> dict[str, object] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
