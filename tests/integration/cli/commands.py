"""Calling the command line inside the process of the tests."""

import json

from click.testing import CliRunner

from keras_prelu.cli.main import main

__all__ = ["invoke", "invoke_json"]


def invoke(*arguments, expect=0):
    """Call `keras-prelu`, and return Click's result.

    Args:
        *arguments: Strings, each of them one or more arguments separated by spaces.
        expect: Integer. The exit status.
    """
    words = " ".join(arguments).split()
    result = CliRunner().invoke(main, words)
    assert result.exit_code == expect, result.output
    return result


def invoke_json(*arguments, expect=0):
    """Call `keras-prelu ... --json`, and return what it prints on standard output."""
    return json.loads(invoke(*arguments, "--json", expect=expect).stdout)
