"""Model files: loaded with errors that say what is wrong, saved so that nothing is ever half written."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import zipfile
from pathlib import Path

import h5py
import keras

from keras_prelu._large_graphs import on_large_graphs
from keras_prelu.errors import FileError, reason_of

__all__ = ["beside", "check_output", "load_model", "save_model"]

_UNKNOWN_CLASS = re.compile(r"(?:Could not locate|Unknown) (?:class|layer|function|object)[: ]+'([^']+)'")


@on_large_graphs
def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """A model from a `.keras` or legacy `.h5` file, in Keras's safe mode.

    Raises:
        FileError: There is no such file, it is not a Keras file, it is damaged, or it uses a class that is not registered; the message
            says which.

    Example:

    >>> model = keras_prelu.load_model("model.prelu.keras")
    """
    path = Path(path)
    _check_input(path)
    try:
        model = keras.models.load_model(path)
    except MemoryError as error:
        raise FileError(f"'{path}' needs more memory than there is.") from error
    except Exception as error:  # Keras passes on whatever zipfile, h5py, json and the layers' own code raise
        raise FileError(_load_failure(path, error)) from error
    if not isinstance(model, keras.Model):
        raise FileError(f"'{path}' holds a {type(model).__name__}, not a model.")
    return model


@on_large_graphs
def save_model(model: keras.Model, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Save a model in the `.keras` format, atomically: into a temporary file in the same folder, which is then renamed.

    Args:
        model: Any Keras model.
        path: Where to; the name must end in `.keras`.
        force: Whether an existing file is replaced. Defaults to False.

    Raises:
        FileError: The name has another ending, the folder does not exist, the file exists and `force` is not set, or it can't be
            written (no space, no permission). Nothing is left behind then, and an existing file is untouched.
    """
    path = Path(path)
    check_output(path, force=force)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".keras", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        model.save(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp's own mode is private to the user
        _publish(temporary, path, force)
    except FileError:
        raise
    except Exception as error:
        raise FileError(f"Could not write '{path}': {_write_failure(error)}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def beside(path: str | os.PathLike[str], suffix: str) -> Path:
    """`model.keras` → `model.<suffix>.keras` in the same folder."""
    path = Path(path)
    return path.with_name(f"{path.stem}.{suffix}.keras")


def check_output(path: Path, *, force: bool) -> None:
    """Raise a FileError if `save_model` would refuse a path: asked before work is done that would be lost."""
    if path.suffix != ".keras":
        raise FileError(f"The output '{path}' must end in .keras.")
    if not path.parent.is_dir():
        raise FileError(f"The folder of the output '{path}' does not exist. Create it first.")
    if path.is_dir():
        raise FileError(f"The output '{path}' is a folder.")
    if path.exists() and not force:
        raise FileError(f"The output '{path}' exists. Choose another name, or overwrite it with --force (force=True).")
    if not os.access(path.parent, os.W_OK):
        raise FileError(f"The folder of the output '{path}' is not writable.")


def _check_input(path: Path) -> None:
    if path.is_dir():
        raise FileError(f"'{path}' is a folder. Keras 3 loads models from files: save it with model.save('model.keras').")
    if not path.exists():
        raise FileError(f"No such file: '{path}'.")
    try:
        is_archive, is_hdf5 = zipfile.is_zipfile(path), h5py.is_hdf5(path)
    except OSError as error:
        raise FileError(f"'{path}' can't be read: {error.strerror or error}.") from error
    if path.suffix == ".keras" and not is_archive:
        raise FileError(f"'{path}' is not a Keras file, or is damaged: a .keras file is a zip archive, and this is not.")
    if path.suffix in (".h5", ".hdf5") and not is_hdf5:
        raise FileError(f"'{path}' is not a Keras file, or is damaged: it is no HDF5 file.")
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise FileError(f"'{path}' is not a Keras file: the name of one ends in .keras (or .h5).")


def _load_failure(path: Path, error: Exception) -> str:
    text = " ".join(str(error).split())
    unknown = _UNKNOWN_CLASS.search(text)
    if unknown:
        return (
            f"'{path}' uses the custom class '{unknown.group(1)}', which is not registered here. Import the module that registers it "
            "(keras.saving.register_keras_serializable) first; on the command line with --import MODULE."
        )
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, zipfile.BadZipFile):
        return f"'{path}' can't be read: {error.strerror or text}."
    if "safe_mode" in text or "lambda" in text.lower():
        return f"'{path}' holds a Lambda layer, whose Python code is not run from a file. Rebuild the model from its code instead."
    return f"'{path}' can't be loaded; it may be damaged: {reason_of(error)}."


def _write_failure(error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.ENOSPC or "No space left" in str(error):
        return "no space left on the device"
    return os.strerror(code) if code else reason_of(error)


def _publish(temporary: Path, path: Path, force: bool) -> None:
    """Give the finished file its name in one step; without `force`, fail if someone else was faster."""
    if force:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FileError(f"The output '{path}' appeared while the model was being written. It was not overwritten.") from None
    except OSError:  # a file system without hard links
        check_output(path, force=False)
        os.replace(temporary, path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
