"""Python programs in processes of their own."""

import importlib.util
import os
import subprocess
import sys

QUICK_TO_START = next(
    name for name in ("jax", "tensorflow", "torch") if importlib.util.find_spec(name)
)
"""The backend that takes least time to import, for programs that compute nothing with it."""


def run_python(*arguments, cwd=None, **environment):
    """Run Python with arguments, and return the completed process, whatever its exit status.

    Args:
        *arguments: Arguments of the interpreter, such as `"-c"` and a program.
        cwd: Path. The folder that it runs in. Defaults to None: the present one.
        **environment: Environment variables that differ from those of this process.
    """
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )


def output_of_python(*arguments, cwd=None, **environment):
    """Run Python as `run_python` does, and return what it prints; it must end with status 0."""
    result = run_python(*arguments, cwd=cwd, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout
