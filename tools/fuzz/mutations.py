"""Ways to damage a `.keras` archive, each from a seed."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def mutate(archive: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Return the name of a random mutation, and the archive after it."""
    mutation = rng.choice(_MUTATIONS)
    return mutation.__name__, mutation(archive, rng)


def flip_bytes(archive: bytes, rng: random.Random) -> bytes:
    data = bytearray(archive)
    for _ in range(rng.choice((1, 3, 20))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def truncate(archive: bytes, rng: random.Random) -> bytes:
    return archive[: rng.randrange(len(archive))]


def flip_bytes_of_the_weights(archive: bytes, rng: random.Random) -> bytes:
    return _changed(archive, {WEIGHTS: flip_bytes(_members(archive)[WEIGHTS], rng)})


def drop_a_member(archive: bytes, rng: random.Random) -> bytes:
    return _changed(archive, {rng.choice(list(_members(archive))): None})


def point_outside(archive: bytes, rng: random.Random) -> bytes:
    return _changed(
        archive, {rng.choice(("../evil.txt", "/tmp/evil.txt", "assets/../../evil.txt")): b"evil"}
    )


def edit_the_configuration(archive: bytes, rng: random.Random) -> bytes:
    config = json.loads(_members(archive)[CONFIG])
    for _ in range(rng.choice((1, 1, 2, 5))):
        _edit(config, rng)
    return _changed(archive, {CONFIG: json.dumps(config).encode()})


def break_the_graph(archive: bytes, rng: random.Random) -> bytes:
    """Connect a call to a layer that is not there, or to itself."""
    config = json.loads(_members(archive)[CONFIG])
    histories = list(_histories(config))
    if histories:
        history = rng.choice(histories)
        history[rng.randrange(3)] = rng.choice(("nowhere", 7, -1, rng.choice(histories)[0]))
    return _changed(archive, {CONFIG: json.dumps(config).encode()})


def nest_the_configuration(archive: bytes, rng: random.Random) -> bytes:
    depth = rng.choice((500, 5_000, 200_000))
    return _changed(archive, {CONFIG: b'{"config": ' * depth + b"1" + b"}" * depth})


def write_rubbish(archive: bytes, rng: random.Random) -> bytes:
    rubbish = rng.choice((b"", b"null", b"[]", b"{}", b"\xff\xfe", b"1e999", rng.randbytes(200)))
    return _changed(archive, {rng.choice((CONFIG, METADATA, WEIGHTS)): rubbish})


def swap_weights(archive: bytes, rng: random.Random) -> bytes:
    def swap(store: h5py.File) -> None:
        first, second = rng.choice(_datasets(store)), rng.choice(_datasets(store))
        a, b = store[first][()], store[second][()]
        for name, value in ((first, b), (second, a)):
            del store[name]
            store[name] = value

    return _with_weights(archive, swap)


def change_a_shape(archive: bytes, rng: random.Random) -> bytes:
    def change(store: h5py.File) -> None:
        name = rng.choice(_datasets(store))
        shape = store[name].shape
        del store[name]
        store[name] = np.zeros(
            rng.choice(
                (
                    (),
                    (1,),
                    (*shape, 1),
                    (*shape[:-1], shape[-1] + 1) if shape else (2,),
                    shape[::-1],
                )
            ),
            "float32",
        )

    return _with_weights(archive, change)


def declare_an_absurd_shape(archive: bytes, rng: random.Random) -> bytes:
    def declare(store: h5py.File) -> None:
        name = rng.choice(_datasets(store))
        del store[name]
        store.create_dataset(
            name, shape=(1 << rng.choice((40, 45, 50)),), dtype="float32", chunks=(1024,)
        )

    return _with_weights(archive, declare)


def link_elsewhere(archive: bytes, rng: random.Random) -> bytes:
    def link(store: h5py.File) -> None:
        name = rng.choice(_datasets(store))
        del store[name]
        store[name] = rng.choice(
            (h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink("/nowhere"), h5py.SoftLink("/"))
        )

    return _with_weights(archive, link)


def put_numbers_that_are_none(archive: bytes, rng: random.Random) -> bytes:
    def put(store: h5py.File) -> None:
        name = rng.choice(_datasets(store))
        if store[name].size and store[name].dtype.kind == "f":
            store[name][...] = rng.choice((np.nan, np.inf, -np.inf, 3e38))

    return _with_weights(archive, put)


def change_a_dtype(archive: bytes, rng: random.Random) -> bytes:
    def change(store: h5py.File) -> None:
        name = rng.choice(_datasets(store))
        value = store[name][()]
        del store[name]
        store[name] = rng.choice(
            (
                value.astype("int8"),
                value.astype("float64"),
                value.astype("complex64"),
                value.astype("S3"),
            )
        )

    return _with_weights(archive, change)


_MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip_bytes,
    truncate,
    flip_bytes_of_the_weights,
    drop_a_member,
    point_outside,
    *(edit_the_configuration,) * 6,
    break_the_graph,
    nest_the_configuration,
    write_rubbish,
    swap_weights,
    change_a_shape,
    declare_an_absurd_shape,
    link_elsewhere,
    put_numbers_that_are_none,
    change_a_dtype,
)

_VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    2**31,
    10**12,
    -(10**9),
    0.0,
    1e308,
    "",
    "relu",
    "x" * 1000,
    "<script>",
    [],
    {},
    [None],
    [[1]],
    "float16",
)


def _edit(config: Any, rng: random.Random) -> None:
    """Change, delete, double or move one entry somewhere in a configuration."""
    container, key = rng.choice(list(_entries(config)))
    change = rng.choice(("value", "value", "delete", "copy", "wrap"))
    if change == "value":
        container[key] = rng.choice(_VALUES)
    elif change == "delete":
        del container[key]
    elif change == "copy":
        other, name = rng.choice(list(_entries(config)))
        container[key] = json.loads(json.dumps(other[name]))
    else:
        container[key] = [container[key]]


def _entries(config: Any) -> Any:
    if isinstance(config, dict):
        for key, value in config.items():
            yield config, key
            yield from _entries(value)
    elif isinstance(config, list):
        for index, value in enumerate(config):
            yield config, index
            yield from _entries(value)


def _histories(config: Any) -> Any:
    for container, key in _entries(config):
        if key == "keras_history":
            yield container[key]


def _members(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


def _changed(archive: bytes, changes: dict[str, bytes | None]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in {**_members(archive), **changes}.items():
            if content is not None:
                file.writestr(name, content)
    return buffer.getvalue()


def _with_weights(archive: bytes, change: Callable[[h5py.File], None]) -> bytes:
    buffer = io.BytesIO(_members(archive)[WEIGHTS])
    with h5py.File(buffer, "r+") as store:
        change(store)
    return _changed(archive, {WEIGHTS: buffer.getvalue()})


def _datasets(store: h5py.File) -> list[str]:
    names: list[str] = []
    store.visititems(
        lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
    )
    return sorted(names)
