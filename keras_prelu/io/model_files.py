"""Model files: loaded with errors that say what is wrong, saved so that nothing is ever half
written."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras

from keras_prelu.backend.devices import alone
from keras_prelu.errors import FileError, reason_of
from keras_prelu.io.validation import check_archive, check_hdf5
from keras_prelu.io.weight_limit import weights_within
from keras_prelu.utils.large_graphs import on_large_graphs
from keras_prelu.utils.versions import numbers

__all__ = ["beside", "check_output", "load_model", "save_model", "save_record"]

_NO_FOLDERS = "Keras 3 loads models from files: save it with model.save('model.keras')."
_AS_A_FILE = (
    "A SavedModel holds compiled functions, not the layers that a conversion exchanges: load it"
    " where its code is, and save it with model.save('model.keras')."
)

_UNKNOWN_CLASS = re.compile(
    r"(?:Could not locate|Unknown) (?:class|layer|function|object)[: ]+'([^']+)'"
)
# What Keras warns of when it goes on with freshly drawn weights.
_UNFILLED = re.compile("Skipping nested container")
_MISFIT = re.compile(
    r"Example error message for object <(\w+) name=([^,>]+)[^>]*>: (.*?)(?: Target variable:.*)?$"
)


def load_model(path: str | os.PathLike[str], *, allow_unsafe: bool = False) -> keras.Model:
    """A model from a `.keras` or legacy `.h5` file.

    What the file declares is checked before anything is built: sizes against the memory there is,
    weights against those that it holds, links and paths that lead out of it, layers that wait for
    each other.

    Args:
        path: The file.
        allow_unsafe: Whether Python code in the file, as a Lambda layer has it, is run. Defaults to
            False, Keras's safe mode. Only for files that you would run as a program.

    Raises:
        FileError: There is no such file, it is not a Keras file, it is damaged, or it uses a class
            that is not registered; the message says which.

    Example:

    >>> model = keras_prelu.load_model("model.prelu.keras")
    """
    path = Path(path)
    try:
        _check_input(path)
        held = check_archive(path) if path.suffix == ".keras" else check_hdf5(path, path)
        model = _load(path, held, allow_unsafe)
    except FileError:
        raise
    except MemoryError as error:
        raise FileError(f"'{path}' needs more memory than there is.") from error
    except (
        Exception
    ) as error:  # Keras passes on whatever zipfile, h5py, json and the layers' own code raise
        raise FileError(_load_failure(path, error)) from error
    if not isinstance(model, keras.Model):
        raise FileError(f"'{path}' holds a {type(model).__name__}, not a model.")
    return model


@on_large_graphs
def _load(path: Path, held: int, allow_unsafe: bool) -> Any:
    with warnings.catch_warnings(record=True) as caught, weights_within(str(path), held):
        warnings.simplefilter("always")
        model = keras.models.load_model(path, safe_mode=not allow_unsafe)
    for warning in caught:
        if _UNFILLED.search(str(warning.message)):
            raise FileError(
                f"'{path}' is damaged: it holds no weights for a part of the model"
                f" ({reason_of(ValueError(warning.message))})."
            )
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return model


@on_large_graphs
def save_model(model: keras.Model, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Save a model in the `.keras` format, atomically: into a temporary file in the same folder,
    which is then renamed. Of several hosts one alone may call it.

    Args:
        model: Any Keras model.
        path: Where to; the name must end in `.keras`.
        force: Whether an existing file is replaced. Defaults to False.

    Raises:
        FileError: The name has another ending, the folder does not exist, the file exists and
            `force` is not set, or it can't be written (no space, no permission). Nothing is left
            behind then, and an existing file is untouched.
    """
    path = Path(path)
    check_output(path, force=force)
    with alone():  # Keras makes an optimizer's variable while it saves
        _write(path, force, model.save)


def save_record(text: str, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Save text, such as a record in JSON, as atomically as `save_model` does.

    Raises:
        FileError: The file exists and `force` is not set, or it can't be written. Nothing is left
            behind then.
    """
    path = Path(path)
    if path.exists() and not force:
        raise FileError(_exists(path))
    _write(path, force, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _write(path: Path, force: bool, write: Callable[[Path], object]) -> None:
    """Write a file under another name in the same folder, and give it its own when it is whole."""
    _remove_abandoned(path)
    descriptor, name = tempfile.mkstemp(
        prefix=f".{path.stem}.", suffix=f".partial{path.suffix}", dir=path.parent
    )
    temporary = Path(name)
    try:
        _lock(descriptor)
        write(temporary)
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
        os.close(descriptor)


def beside(path: str | os.PathLike[str], suffix: str) -> Path:
    """`model.keras` → `model.<suffix>.keras` in the same folder."""
    path = Path(path)
    return path.with_name(f"{path.stem}.{suffix}.keras")


def check_output(path: Path, *, force: bool, suffix: str = ".keras") -> None:
    """Raise a FileError if a path can't be written to: asked before work is done that would be
    lost. An empty suffix is a folder's."""
    if path.suffix != suffix:
        raise FileError(
            f"The output '{path}' must end in {suffix}."
            if suffix
            else f"The output '{path}', a folder, must have no suffix."
        )
    if not path.parent.is_dir():
        raise FileError(f"The folder of the output '{path}' does not exist. Create it first.")
    if path.exists() and path.is_dir() == bool(suffix):
        raise FileError(f"The output '{path}' is a {'folder' if suffix else 'file'}.")
    if path.exists() and not force:
        raise FileError(_exists(path))
    if not os.access(path.parent, os.W_OK):
        raise FileError(f"The folder of the output '{path}' is not writable.")


def _exists(path: Path) -> str:
    return (
        f"The output '{path}' exists. Choose another name, or overwrite it with --force"
        " (force=True)."
    )


def _check_input(path: Path) -> None:
    if path.is_dir():
        raise FileError(
            f"'{path}' is a folder."
            f" {_AS_A_FILE if (path / 'saved_model.pb').exists() else _NO_FOLDERS}"
        )
    if not path.exists():
        raise FileError(f"No such file: '{path}'.")
    try:
        is_archive, is_hdf5 = zipfile.is_zipfile(path), h5py.is_hdf5(path)
    except OSError as error:
        raise FileError(f"'{path}' can't be read: {error.strerror or error}.") from error
    if path.suffix == ".keras" and not is_archive:
        raise FileError(
            f"'{path}' is not a Keras file, or is damaged: a .keras file is a zip archive, and this"
            " is not."
        )
    if path.suffix in (".h5", ".hdf5") and not is_hdf5:
        raise FileError(f"'{path}' is not a Keras file, or is damaged: it is no HDF5 file.")
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise FileError(f"'{path}' is not a Keras file: the name of one ends in .keras (or .h5).")


def _load_failure(path: Path, error: Exception) -> str:
    text = " ".join(str(error).split())
    unknown = _UNKNOWN_CLASS.search(text)
    if unknown:
        return (
            f"'{path}' uses the custom class '{unknown.group(1)}', which is not registered here."
            " Import the module that registers it (keras.saving.register_keras_serializable)"
            " first; on the command line with --import MODULE."
        )
    misfit = _MISFIT.search(text)
    if misfit:
        layer, name, what = misfit.groups()
        return (
            f"'{path}' is damaged: its weights do not fit layer '{name}' ({layer})."
            f" {reason_of(ValueError(what))}."
        )
    if (
        isinstance(error, OSError)
        and error.errno is not None
        and not isinstance(error, zipfile.BadZipFile)
    ):
        return f"'{path}' can't be read: {error.strerror or text}."
    if "safe_mode" in text or "lambda" in text.lower():
        return (
            f"'{path}' holds a Lambda layer, whose Python code is not run from a file. If you trust"
            " it as you would a program, allow_unsafe=True runs it; on the command line"
            " --allow-unsafe."
        )
    newer = _newer_keras(path)
    if newer:
        return (
            f"'{path}' was written by Keras {newer}, and this is {keras.version()}: pip install"
            f" --upgrade keras. ({reason_of(error)}.)"
        )
    return f"'{path}' can't be loaded; it may be damaged: {reason_of(error)}."


def _newer_keras(path: Path) -> str:
    """The version of Keras that wrote a file that can't be loaded, where it is newer than this
    one."""
    try:
        with zipfile.ZipFile(path) as archive:
            wrote = str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        return ""
    return wrote if numbers(wrote) > numbers(keras.version()) else ""


def _write_failure(error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.ENOSPC or "No space left" in str(error):
        return "no space left on the device"
    return os.strerror(code) if code else reason_of(error)


def _publish(temporary: Path, path: Path, force: bool) -> None:
    """Give the finished file its name in one step; without `force`, fail if someone else was
    faster."""
    if force:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FileError(
            f"The output '{path}' appeared while the model was being written. It was not"
            " overwritten."
        ) from None
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileError(_exists(path)) from None
        os.replace(temporary, path)


def _remove_abandoned(path: Path) -> None:
    """Delete the temporary files of processes that were killed while they wrote `path`: nobody
    holds their lock any more."""
    for other in path.parent.glob(f".{glob.escape(path.stem)}.*.partial{glob.escape(path.suffix)}"):
        with contextlib.suppress(OSError), other.open("rb") as file:
            if _lock(file.fileno()):
                other.unlink()


def _lock(descriptor: int) -> bool:
    """Hold a file's lock until its descriptor is closed; False where another process does, or where
    there are no locks."""
    try:
        import fcntl  # not on Windows

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
