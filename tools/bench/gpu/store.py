"""The files of the results: those of a trial have other names, so that they never replace real
ones."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tools.bench.gpu.records import by_task
from tools.bench.gpu.report import markdown


@dataclass(frozen=True, kw_only=True)
class Store:
    """A folder of results."""

    folder: Path
    trial: bool

    def records(self, backend: str) -> Path:
        """Return the file to which the workers of a backend append records."""
        return self.folder / f"{'trial-' if self.trial else ''}records-{backend}.jsonl"

    def log(self, backend: str) -> Path:
        """Return the file of what the workers of a backend print."""
        return self.folder / f"{'trial-' if self.trial else ''}log-{backend}.txt"

    @property
    def results(self) -> Path:
        return self.folder / ("trial-results.json" if self.trial else "results.json")

    @property
    def report(self) -> Path:
        return self.folder / ("TRIAL.md" if self.trial else "RESULTS.md")

    def merge(self, backends: tuple[str, ...]) -> None:
        """Update the results with the records of all backends; the results of tasks that were not
        run again are kept."""
        results = (
            json.loads(self.results.read_text(encoding="utf-8")) if self.results.exists() else {}
        )
        for backend in backends:
            if self.records(backend).exists():
                results.setdefault(backend, {}).update(by_task(self.records(backend)))
        _replace(self.results, json.dumps({"trial": self.trial, **results}, indent=1) + "\n")
        _replace(self.report, markdown(results, trial=self.trial))


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
