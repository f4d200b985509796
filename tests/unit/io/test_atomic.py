"""keras_prelu.io.atomic: nothing is half written, by one process or several, killed or not."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from keras_prelu.errors import FileError
from keras_prelu.io import atomic
from keras_prelu.io.atomic import atomic_write, atomic_write_text


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_folder(path, content):
    path.mkdir()
    (path / "inner").mkdir()
    (path / "inner" / "file").write_text(content)


def fail_after(write, error):
    write()
    raise error


def not_supported(*args):
    raise OSError(95, "Operation not supported")


def hidden(folder):
    return [name for name in os.listdir(folder) if name.startswith(".")]


def test_a_file_appears_when_it_is_whole(folder):
    with atomic_write("model.keras", overwrite=False) as temporary:
        temporary.write_text("half")
        assert temporary.name == "model.keras"
        assert not (folder / "model.keras").exists()
        temporary.write_text("whole")
    assert (folder / "model.keras").read_text() == "whole"
    assert os.listdir(folder) == ["model.keras"]


def test_its_mode_is_that_of_any_new_file(folder):
    for mask in (0o022, 0o077):
        previous = os.umask(mask)
        try:
            atomic_write_text(folder / "file", "text", overwrite=True)
            (folder / f"ordinary{mask}").touch()
        finally:
            os.umask(previous)
        assert (folder / "file").stat().st_mode == (folder / f"ordinary{mask}").stat().st_mode


def test_content_reaches_the_disk_before_its_name_changes(folder, monkeypatch):
    events = []
    fsync, link = os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda *args: events.append("fsync") or fsync(*args))
    monkeypatch.setattr(os, "link", lambda *args: events.append("link") or link(*args))
    atomic_write_text("file", "text", overwrite=False)
    assert events == ["fsync", "link"]


@pytest.mark.parametrize("content", ["file", "folder"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_everything_as_it_was(folder, content, error):
    target = folder / "model"
    if content == "file":
        target.write_text("old")
    else:
        write_folder(target, "old")
    with pytest.raises(error), atomic_write(target, overwrite=True) as temporary:
        fail_after(lambda: write_folder(temporary, "new"), error)
    assert os.listdir(folder) == ["model"]
    assert (target if content == "file" else target / "inner" / "file").read_text() == "old"


def test_an_error_of_the_system_is_one_line(folder):
    with (
        pytest.raises(FileError, match=r"^Could not write 'file': no space left on the device\.$"),
        atomic_write("file", overwrite=True),
    ):
        raise OSError(28, "No space left on device")
    (folder / "file").write_text("old")
    with (
        pytest.raises(FileError, match=r"Permission denied\. The existing 'file' is unchanged\."),
        atomic_write("file", overwrite=True),
    ):
        raise PermissionError(13, "Permission denied")
    with (
        pytest.raises(FileError, match="Could not write 'missing/file': No such file"),
        atomic_write("missing/file", overwrite=True),
    ):
        pass


def test_a_block_that_writes_nothing_is_an_error(folder):
    (folder / "file").write_text("old")
    with pytest.raises(FileError, match="No such file"), atomic_write("file", overwrite=True):
        pass
    assert (folder / "file").read_text() == "old"
    assert hidden(folder) == []


@pytest.mark.parametrize("content", ["file", "folder"])
def test_nothing_is_overwritten_unless_asked(folder, content):
    target = folder / "model"

    def write(text, *, overwrite):
        with atomic_write(target, overwrite=overwrite) as temporary:
            temporary.write_text(text) if content == "file" else write_folder(temporary, text)

    def read():
        return (target if content == "file" else target / "inner" / "file").read_text()

    write("first", overwrite=False)
    with pytest.raises(FileError, match=r"exists\. Choose another name, or overwrite .* --force"):
        write("second", overwrite=False)
    assert read() == "first"
    write("third", overwrite=True)
    assert read() == "third"
    assert os.listdir(folder) == ["model"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("content", ["file", "folder"])
def test_what_appears_meanwhile_is_not_overwritten(folder, monkeypatch, links, content):
    if not links:
        monkeypatch.setattr(os, "link", not_supported)

    def write_both(temporary):
        temporary.write_text("ours") if content == "file" else write_folder(temporary, "ours")
        (folder / "model").write_text("theirs")

    with (
        pytest.raises(FileError, match=r"'model' appeared while it was being written"),
        atomic_write("model", overwrite=False) as temporary,
    ):
        write_both(temporary)
    assert (folder / "model").read_text() == "theirs"
    assert hidden(folder) == []


def test_without_hard_links_files_are_renamed(folder, monkeypatch):
    monkeypatch.setattr(os, "link", not_supported)
    atomic_write_text("file", "text", overwrite=False)
    assert (folder / "file").read_text() == "text"


def test_a_folder_replaces_a_file_and_a_file_a_folder(folder):
    with atomic_write("model", overwrite=True) as temporary:
        write_folder(temporary, "folder")
    atomic_write_text("model", "file", overwrite=True)
    assert (folder / "model").read_text() == "file"
    with atomic_write("model", overwrite=True) as temporary:
        write_folder(temporary, "folder")
    assert (folder / "model" / "inner" / "file").read_text() == "folder"
    assert hidden(folder) == []


@pytest.mark.parametrize("old", [("one", "two"), ("two",), ()])
def test_several_files_are_all_replaced_or_none(folder, old):
    for name in old:
        (folder / name).write_text("old")
    parts = [folder / "one", folder / "two"]

    def write(*names):
        with atomic_write(folder / "two", overwrite=True, parts=parts) as temporary:
            for name in names:
                temporary.with_name(name).write_text("new")

    rename = os.rename
    with pytest.MonkeyPatch.context() as patch:

        def failing(source, target, **kwargs):
            if str(source).endswith("new/two"):
                raise PermissionError(13, "Permission denied")
            rename(source, target, **kwargs)

        patch.setattr(os, "rename", failing)
        with pytest.raises(FileError, match="Permission denied"):
            write("one", "two")
    with pytest.raises(FileError, match="No such file"):
        write("one")
    assert sorted(os.listdir()) == sorted(old)
    assert [(folder / name).read_text() for name in old] == ["old"] * len(old)
    write("one", "two")
    assert [(folder / name).read_text() for name in ("one", "two")] == ["new", "new"]
    assert hidden(folder) == []


KILLED = """
    import os, signal
    from pathlib import Path
    from keras_prelu.io import atomic
    {prepare}
    with atomic.atomic_write({path!r}, overwrite=True) as temporary:
        {write}
"""


def kill_while(folder, path, write, prepare=""):
    """Run a process that is killed while it writes to a path."""
    code = textwrap.dedent(KILLED.format(path=path, write=write, prepare=prepare))
    process = subprocess.run([sys.executable, "-c", code], cwd=folder, check=False, timeout=300)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("name", ["model.keras", "[odd] *name?.keras"])
def test_what_a_killed_process_left_is_removed_by_the_next(folder, name):
    write = "temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    kill_while(folder, name, write)
    assert len(hidden(folder)) == 1
    assert len(os.listdir(folder)) == 1
    atomic_write_text("other.keras", "other", overwrite=False)
    assert len(hidden(folder)) == 1  # another target's business
    atomic_write_text(name, "whole", overwrite=False)
    assert sorted(os.listdir(folder)) == sorted([name, "other.keras"])
    assert (folder / name).read_text() == "whole"


def test_a_folder_that_was_moved_aside_comes_back(folder):
    write_folder(folder / "model", "old")
    kill_while(
        folder,
        "model",
        "temporary.mkdir()",
        "rename = Path.rename\n"
        "    Path.rename = lambda self, to: (rename(self, to), os.kill(os.getpid(), 9))",
    )
    assert not (folder / "model").exists()
    with pytest.raises(FileError, match="exists"), atomic_write("model", overwrite=False):
        pass
    assert (folder / "model" / "inner" / "file").read_text() == "old"
    assert hidden(folder) == []


def test_the_folder_of_a_process_that_is_alive_stays(folder):
    with atomic_write("file", overwrite=True) as first:
        first.write_text("first")
        with atomic_write("file", overwrite=True) as second:
            second.write_text("second")
            assert len(hidden(folder)) == 2
        assert (folder / "file").read_text() == "second"
        assert first.read_text() == "first"
    assert (folder / "file").read_text() == "first"


@pytest.mark.parametrize("locks", ["no module", "not on this file system"])
def test_without_locks_nothing_is_taken_for_abandoned(folder, monkeypatch, locks):
    kill_while(folder, "file", "os.kill(os.getpid(), signal.SIGKILL)")
    if locks == "no module":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    else:
        monkeypatch.setattr("fcntl.flock", not_supported)
    atomic_write_text("file", "text", overwrite=False)
    assert (folder / "file").read_text() == "text"
    assert len(hidden(folder)) == 1


def test_a_folder_that_another_process_takes_for_abandoned_is_created_anew(folder, monkeypatch):
    """Between its creation and its lock."""
    mkdtemp, created = atomic.tempfile.mkdtemp, []

    def removed(**kwargs):
        path = mkdtemp(**kwargs)
        created.append(path)
        if len(created) < 3:
            os.rmdir(path)
        return path

    monkeypatch.setattr(atomic.tempfile, "mkdtemp", removed)
    atomic_write_text("file", "text", overwrite=False)
    assert (folder / "file").read_text() == "text"
    assert len(created) == 3


def test_many_threads_write_the_same_target(folder):
    """Each writes whole content; without `overwrite` one alone wins."""
    outcomes = []

    def write(number):
        text = str(number) * 1_000
        atomic_write_text("replaced", text, overwrite=True)
        try:
            atomic_write_text("created", text, overwrite=False)
            outcomes.append("wrote")
        except FileError:
            outcomes.append("refused")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 7 + ["wrote"]
    for name in ("created", "replaced"):
        text = (folder / name).read_text()
        assert text == text[0] * 1_000
    assert hidden(folder) == []


def test_processes_that_race_leave_one_whole_file(folder):
    code = (
        "import sys; from keras_prelu.io.atomic import atomic_write_text\n"
        "for _ in range(100): atomic_write_text('file', sys.argv[1] * 10_000, overwrite=True)"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, text], cwd=folder) for text in "abc"]
    assert [process.wait(300) for process in processes] == [0, 0, 0]
    text = (folder / "file").read_text()
    assert text == text[0] * 10_000
    assert os.listdir(folder) == ["file"]
