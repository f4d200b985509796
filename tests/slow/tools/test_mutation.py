"""tools.mutation: a change that a test notices, and one that none does."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.slow.tools.reports import check_stored
from tools.common.storage import Storage
from tools.mutation import __main__ as command
from tools.mutation.mutants import Mutants, Target

ROOT = Path(__file__).parents[3]


@pytest.fixture
def target(tmp_path):
    """A module of two functions, of which one is tested."""
    (tmp_path / "keras_prelu").mkdir()
    (tmp_path / "keras_prelu" / "__init__.py").touch()
    (tmp_path / "keras_prelu" / "sums.py").write_text(
        "def plus(a, b):\n    return a + b\n\n\ndef minus(a, b):\n    return a - b\n"
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_sums.py").write_text(
        "from keras_prelu.sums import plus\n\n\ndef test():\n    assert plus(2, 3) == 5\n"
    )
    return Target("keras_prelu.sums", ("tests/test_sums.py",))


def test_what_is_noticed_and_what_is_not(target, tmp_path):
    mutants = Mutants(target, tmp_path / "copy", root=tmp_path)
    assert not mutants.notice(None)
    noticed = {name: mutants.notice(name) for name in mutants.names}
    assert noticed == {"x_plus__mutmut_1": True, "x_minus__mutmut_1": False}
    assert "+    return a + b" in mutants.difference("x_minus__mutmut_1")


def test_the_command_stores_and_says_what_survived(target, tmp_path, monkeypatch):
    monkeypatch.setitem(command.TARGETS, "theory", target)
    monkeypatch.setattr(
        command, "Mutants", lambda target, folder: Mutants(target, folder, root=tmp_path)
    )
    folder = tmp_path / "results"
    result = CliRunner().invoke(command.main, ["theory", "--output", str(folder)])
    assert result.exit_code == 1
    assert "Fewer than 90% are noticed of theory" in result.output
    assert "| theory | 2 | 1 | 50.0% |" in (folder / "RESULTS.md").read_text()
    (stored,) = Storage(folder, command.REPORT).results("modules")
    assert list(stored.survivors) == ["x_minus__mutmut_1"]


def test_the_stored_results_are_good_enough_and_those_of_the_table():
    storage = check_stored(ROOT / "tools" / "mutation", command.REPORT)
    for result in storage.results("modules"):
        assert result.module in command.TARGETS
        assert result.score >= command.WANTED, result.module
