"""Checks of what a model file declares, before anything is built from it.

Sizes, paths, links and the consistency of the graph are checked, because Keras trusts the files
that it reads. A damaged or malicious file can make Keras use up all memory, follow a path out of
the archive, or wait for a layer that never comes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

import h5py

from keras_prelu.errors import FileError
from keras_prelu.utils.machine import physical_memory

__all__ = ["check_archive", "check_folder", "check_hdf5"]

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def check_archive(path: Path) -> int:
    """Check a `.keras` file.

    Args:
        path: Path. The file.

    Returns:
        An integer: the bytes of the weights in the file.

    Raises:
        FileError: A part is missing, or the file declares something impossible; the message states
            the cause.
        zipfile.BadZipFile: The file can't be read.
        OSError: The file can't be read.
        ValueError: The file can't be read.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            if (
                PurePosixPath(member.filename).is_absolute()
                or ".." in PurePosixPath(member.filename).parts
            ):
                raise FileError(
                    f"'{path}' holds a file '{member.filename}' that points outside of the archive;"
                    " the file is not read."
                )
        _check_memory(path, sum(member.file_size for member in members))
        names = {member.filename for member in members}
        missing = [name for name in (_CONFIG, _METADATA) if name not in names]
        if missing:
            raise FileError(
                f"'{path}' is not a Keras file, or is damaged: it holds no {missing[0]}."
            )
        _check_graphs(path, json.loads(archive.read(_CONFIG)))
        stored_bytes = 0
        for member in members:
            if member.filename.endswith(".h5"):
                with archive.open(member) as file:
                    stored_bytes += check_hdf5(path, file)
            elif member.filename.endswith(".npz"):
                stored_bytes += member.file_size
        return stored_bytes


def check_folder(folder: Path) -> int:
    """Check a folder with the members of a `.keras` file, or a preset of KerasHub.

    Args:
        folder: Path. The folder.

    Returns:
        An integer: the bytes of the weights in it.

    Raises:
        FileError: A part is missing, or the files declare something impossible.
        OSError: A file can't be read.
        ValueError: A file can't be read.
    """
    config = folder / _CONFIG
    if not config.exists():
        raise FileError(f"'{folder}' holds no {_CONFIG}: it is not a folder of Keras.")
    files = [path for path in folder.rglob("*") if path.is_file()]
    _check_memory(folder, sum(path.stat().st_size for path in files))
    _check_graphs(folder, json.loads(config.read_text(encoding="utf-8")))
    stored_bytes = 0
    for path in files:
        if path.suffix == ".h5":
            with open(path, "rb") as file:
                stored_bytes += check_hdf5(path, file)
        elif path.suffix == ".npz":
            stored_bytes += path.stat().st_size
    return stored_bytes


def check_hdf5(path: Path, file: IO[bytes] | Path) -> int:
    """Check an HDF5 file, of weights or a legacy model.

    Args:
        path: Path. The file to name in errors.
        file: Path or binary file. The file to read; a path for a legacy model.

    Returns:
        An integer: the bytes of the data sets in the file.

    Raises:
        FileError: The file declares more data than the memory holds, or leads to other files.
        OSError: The file can't be read.
    """
    with h5py.File(file, "r") as store:
        if isinstance(file, Path) and "model_config" in store.attrs:
            _check_graphs(path, json.loads(store.attrs["model_config"]))
        elif isinstance(file, Path):
            raise FileError(
                f"'{path}' holds weights without a model. Build the model from its code, load them,"
                " and save it: model.save('model.keras')."
            )
        stored_bytes = sum(_bytes_of(path, name, member) for name, member in _members(path, store))
    _check_memory(path, stored_bytes)
    return stored_bytes


def _members(path: Path, group: h5py.Group) -> Iterator[tuple[str, Any]]:
    """Yield the groups and data sets in a group, at any depth, with their names."""
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise FileError(
                f"'{path}' holds a link at '{group.name}/{name}' where weights should be; it is not"
                " followed."
            )
        member = group[name]
        yield member.name, member
        if isinstance(member, h5py.Group):
            yield from _members(path, member)


def _bytes_of(path: Path, name: str, member: Any) -> int:
    if not isinstance(member, h5py.Dataset):
        return 0
    if member.external or member.is_virtual:
        raise FileError(f"'{path}' keeps the weights '{name}' in another file, which is not read.")
    return int(member.size) * member.dtype.itemsize if member.size else 0


def _check_memory(path: Path, size: int) -> None:
    memory = physical_memory()
    if memory and size > memory:
        raise FileError(
            f"'{path}' declares {size / 1e9:,.1f} GB of data, more than the {memory / 1e9:,.1f} GB"
            " of memory here; the file is not read."
        )


def _check_graphs(path: Path, config: Any) -> None:
    """Check every functional model in a configuration.

    Keras waits forever for an input that no layer computes.
    """
    if isinstance(config, Mapping):
        layers = config.get("layers")
        if isinstance(layers, Sequence) and any(
            isinstance(layer, Mapping) and layer.get("inbound_nodes") for layer in layers
        ):
            _check_graph(path, layers)
        for value in config.values():
            _check_graphs(path, value)
    elif isinstance(config, list):
        for value in config:
            _check_graphs(path, value)


def _check_graph(path: Path, layers: Sequence[Any]) -> None:
    """Raise a FileError if a call waits for an output that is never computed.

    The calls are ordered as Keras orders them; any call left over waits forever.
    """
    nodes = {
        str(layer.get("name")): layer.get("inbound_nodes") or []
        for layer in layers
        if isinstance(layer, Mapping)
    }
    waiting = {
        (name, index): set(_inputs(node))
        for name, inbound in nodes.items()
        for index, node in enumerate(inbound)
    }
    readers: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for call, inputs in waiting.items():
        for source in inputs:
            readers.setdefault(source, []).append(call)
    ready = [(name, 0) for name, inbound in nodes.items() if not inbound]
    ready += [call for call, inputs in waiting.items() if not inputs]
    while ready:
        source = ready.pop()
        waiting.pop(source, None)
        for call in readers.pop(source, []):
            waiting[call].discard(source)
            if not waiting[call]:
                ready.append(call)
    if waiting:
        (name, _), inputs = next(iter(waiting.items()))
        source_name, _ = next(iter(inputs))
        problem = "waits for others in a circle" if source_name in nodes else "is not in the model"
        raise FileError(
            f"'{path}' is damaged: layer '{name}' takes the output of '{source_name}', which"
            f" {problem}."
        )


def _inputs(node: Any) -> Iterator[tuple[str, int]]:
    """Yield the calls, as (layer, index), whose outputs a call takes.

    The formats of Keras 3 and of Keras 2 are supported.
    """
    if isinstance(node, Mapping):
        history = node.get("keras_history")
        if isinstance(history, Sequence) and len(history) >= 2:
            yield str(history[0]), history[1]
            return
        for value in node.values():
            yield from _inputs(value)
    elif isinstance(node, list):
        if (
            len(node) >= 3
            and isinstance(node[0], str)
            and isinstance(node[1], int)
            and isinstance(node[2], int)
        ):
            yield node[0], node[1]
            return
        for value in node:
            yield from _inputs(value)
