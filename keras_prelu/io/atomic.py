"""Atomic writes of files and folders.

The content is written next to the target and then renamed, so that nothing is ever half written.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from keras_prelu.errors import FileError, reason_of

__all__ = ["atomic_write", "atomic_write_text", "check_missing", "write_error"]

_SUFFIX = ".partial"
# The temporary folder holds the new content, and the old content that is moved away for it.
_NEW, _OLD = "new", "old"
_ATTEMPTS = 100
"""How often a temporary folder is created anew because another process has removed it."""


@contextlib.contextmanager
def atomic_write(
    path: str | os.PathLike[str], *, overwrite: bool, parts: Sequence[Path] | None = None
) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename what was written there at the end.

    The temporary path has the target's name, in a hidden folder next to the target and so on the
    same file system. When the block ends, its files are flushed to the disk and renamed. If the
    block raises, they are deleted and nothing has changed.

    Failures and their effects:

    - The disk is full, a folder is not writable, or another error of the operating system: a
      FileError that states the cause. Whatever had the target's name is unchanged.
    - The process is killed while it writes: the hidden folder remains. The next write to the same
      target deletes it; it is distinguished from the folder of a live process by its lock. File
      systems without locks, and Windows, keep abandoned folders.
    - The process is killed while it renames: a single file has its old or its new content, since it
      is replaced in one step. A folder may be missing, and several files may be partly old, partly
      new and partly missing; the next write to the same target puts the old ones back where they
      are missing before it begins.
    - Another process writes to the target meanwhile: with `overwrite` the last process to finish
      wins; without it the first one does, and the others raise a FileError. For folders and several
      files, that is checked before the first rename, so that two processes that finish in the same
      instant can both pass.
    - One of several files can't be renamed: the renamed files get their former names back.
    - The power fails: the content was flushed before it was renamed; whether the rename itself
      survives depends on the file system.

    Args:
        path: String or path. The target, a file or a folder. Its own folder must exist.
        overwrite: Boolean. Whether an existing target is replaced.
        parts: Sequence of paths in the folder of `path`. The files that the block writes, if there
            are more than `path` itself: all of them are renamed, or none. Defaults to None, `path`
            alone.

    Yields:
        The path to write to. The files written must have the names of `parts`.

    Raises:
        FileError: The target exists and `overwrite` is not set, or it can't be written.
    """
    path = Path(path)
    targets = [path] if parts is None else list(parts)
    try:
        _remove_abandoned(path)
        if not overwrite:
            for target in targets:
                check_missing(target)
        with _temporary_folder(path) as folder:
            yield folder / _NEW / path.name
            renames = {folder / _NEW / target.name: target for target in targets}
            for new in renames:
                _flush(new)
            _publish(renames, folder / _OLD, overwrite=overwrite)
    except OSError as error:
        raise write_error(path, error) from error


def atomic_write_text(path: str | os.PathLike[str], text: str, *, overwrite: bool) -> None:
    """Write text in UTF-8 with `atomic_write`.

    Args:
        path: String or path. The file.
        text: String. Its content.
        overwrite: Boolean. Whether an existing file is replaced.

    Raises:
        FileError: The file exists and `overwrite` is not set, or it can't be written.
    """
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_missing(path: Path) -> None:
    """Raise a FileError if a path exists, for outputs that must not be overwritten."""
    if path.exists():
        raise FileError(
            f"The output '{path}' exists. Choose another name, or overwrite it with --force"
            " (force=True)."
        )


def write_error(path: Path, error: Exception) -> FileError:
    """Return the error that states on one line why a path could not be written."""
    code = getattr(error, "errno", None)
    if code == errno.ENOSPC or "No space left" in str(error):
        reason = "no space left on the device"
    else:
        reason = os.strerror(code) if code else reason_of(error)
    unchanged = f" The existing '{path.name}' is unchanged." if path.exists() else ""
    return FileError(f"Could not write '{path}': {reason}.{unchanged}")


@contextlib.contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Create a hidden folder next to a path, locked while it is in use."""
    folder, lock = _create_locked(path)
    try:
        (folder / _NEW).mkdir()
        (folder / _OLD).mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _create_locked(path: Path) -> tuple[Path, int | None]:
    """Create a folder and lock it; the lock is None if the system has no locks."""
    for _ in range(_ATTEMPTS):
        folder = Path(
            tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_SUFFIX, dir=path.absolute().parent)
        )
        # Between its creation and its lock, a folder looks abandoned, and another process that
        # writes to the same target may remove it.
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            lock = _lock(folder)
            if folder.exists():
                return folder, lock
            if lock is not None:
                os.close(lock)
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _lock(folder: Path) -> int | None:
    """Lock a folder until the returned descriptor is closed or the process ends.

    Returns:
        The descriptor, or None if the system or the file system has no locks.

    Raises:
        BlockingIOError: Another process, or another descriptor of this process, holds the lock.
        FileNotFoundError: The folder no longer exists.
    """
    try:
        import fcntl  # Not available on Windows.
    except ImportError:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_abandoned(path: Path) -> None:
    """Delete the temporary folders of processes that were killed while they wrote `path`.

    No process holds the locks of these folders any more.
    """
    for folder in path.parent.glob(f".{glob.escape(path.name)}.*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            lock = _lock(folder)
            if lock is None:
                continue
            try:
                _put_back(folder / _OLD, path.parent)
                shutil.rmtree(folder)
            finally:
                os.close(lock)


def _put_back(old: Path, folder: Path) -> None:
    """Restore what was renamed for new content that was never completed."""
    for item in old.iterdir() if old.is_dir() else ():
        if not (folder / item.name).exists():
            item.rename(folder / item.name)


def _flush(path: Path) -> None:
    """Flush a file, or all files of a folder, to the disk."""
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def _publish(renames: Mapping[Path, Path], aside: Path, *, overwrite: bool) -> None:
    """Rename finished files and folders to their final names."""
    if len(renames) == 1 and not any(path.is_dir() for pair in renames.items() for path in pair):
        ((new, target),) = renames.items()
        if overwrite:
            os.replace(new, target)
        else:
            _create(new, target)
        return
    if not overwrite:
        for target in renames.values():
            _check_not_appeared(target)
    _replace_all(renames, aside)


def _create(new: Path, target: Path) -> None:
    """Rename a file, unless the name is taken."""
    try:
        os.link(new, target)
    except OSError:  # The name is taken, or the file system has no hard links.
        _check_not_appeared(target)
        os.replace(new, target)


def _check_not_appeared(target: Path) -> None:
    if target.exists():
        raise FileError(
            f"The output '{target}' appeared while it was being written. It was not overwritten."
        )


def _replace_all(renames: Mapping[Path, Path], aside: Path) -> None:
    """Extend `os.replace` to folders and to several files.

    Either all have their new names, or everything is as it was.
    """
    undo: list[tuple[Path, Path]] = []
    try:
        for new, target in renames.items():
            if target.exists():
                target.rename(aside / target.name)
                undo.append((aside / target.name, target))
            new.rename(target)
            undo.append((target, new))
    except OSError:
        for source, original in reversed(undo):
            source.rename(original)
        raise
