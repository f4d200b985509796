"""What the tests of all tools share."""

from click.testing import CliRunner

from tools.common.storage import Storage


def run(command, folder, *arguments):
    """Run a tool into a folder and return what it stored there."""
    result = CliRunner().invoke(
        command.main, ["--output", str(folder), *arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return Storage(folder, command.REPORT)


def check_stored(folder, report):
    """RESULTS.md is what the report makes of results.json, so neither was edited by hand."""
    storage = Storage(folder, report)
    assert set(storage.parts) == set(report.sections)
    assert (folder / "RESULTS.md").read_text() == storage.markdown()
    return storage
