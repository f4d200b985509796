"""The mutants of a module, made by mutmut, each tried in a process of its own.

mutmut's own runner forks after imports, which PyTorch's threads don't survive, and picks tests by
who called a function when, which misses what `ops` makes once and keeps.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import mutate_file_contents

ROOT = Path(__file__).parents[2]
_PARTS = ("keras_prelu", "tests", "tools", "examples", "pyproject.toml")
_SECONDS = 900  # a mutant that runs longer is noticed too


@dataclass(frozen=True)
class Target:
    """A module and the tests that answer for it, the quickest first."""

    module: str
    tests: tuple[str, ...]

    @property
    def path(self) -> Path:
        return Path(*self.module.split(".")).with_suffix(".py")


class Mutants:
    """A copy of the checkout in which a module has all its mutants; which of them runs is said by
    the environment.

    Args:
        target: The module and its tests.
        folder: An empty folder for the copy.
        root: The checkout.

    Attributes:
        names: The mutants.
    """

    def __init__(self, target: Target, folder: Path, root: Path = ROOT) -> None:
        self._target, self._folder = target, folder
        for name in _PARTS:
            source = root / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, folder / name)
        mutated = mutate_file_contents(str(target.path), (root / target.path).read_text())
        (folder / target.path).write_text(mutated.code)
        self._code = mutated.code
        self.names = list(mutated.mutant_names)

    def notice(self, name: str | None) -> bool:
        """Whether the tests fail with a mutant; with None, without any."""
        environment = {
            **os.environ,
            "KERAS_BACKEND": "torch",
            "HYPOTHESIS_PROFILE": "short",
            "OMP_NUM_THREADS": "1",
            "MUTANT_UNDER_TEST": f"{self._target.module}.{name}" if name else "",
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--quiet",
            "--exitfirst",
            "-p",
            "no:cacheprovider",
            *self._target.tests,
        ]
        try:
            result = subprocess.run(
                command,
                cwd=self._folder,
                env=environment,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True
        return result.returncode != 0

    def difference(self, name: str) -> str:
        """What a mutant changes."""
        return get_diff_for_mutant(
            f"{self._target.module}.{name}", source=self._code, path=self._target.path
        )
