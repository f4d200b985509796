"""Stored results of a tool, part by part: results.json, and RESULTS.md, which is made from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tools.common.machine import Machine, backend, describe, machine
from tools.common.markdown import join, paragraph
from tools.common.records import decode, encode

__all__ = ["Part", "Report", "Section", "Storage"]


@dataclass(frozen=True)
class Part:
    """Stored results of one part.

    Attributes:
        results: Dataclasses of the tool.
        machines: Where they were measured, by backend.
    """

    results: tuple[Any, ...] = ()
    machines: Mapping[str, Machine] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One part's section in RESULTS.md.

    Attributes:
        title: Heading.
        text: What was measured, and how to read the table.
        tables: Returns the tables, with what is said between them.
    """

    title: str
    text: str
    tables: Callable[[tuple[Any, ...]], str]


@dataclass(frozen=True)
class Report:
    """How the results of a tool are stored and presented.

    Attributes:
        tool: Name of the module, as in `python -m tools.bench`.
        title: Heading.
        introduction: What holds for all parts.
        kinds: Dataclasses of the results.
        sections: For each part by name, in the order of the document.
    """

    tool: str
    title: str
    introduction: str
    kinds: tuple[type, ...]
    sections: Mapping[str, Section]

    def markdown(self, parts: Mapping[str, Part]) -> str:
        """Return the document; parts without results are left out."""
        blocks = [f"# {self.title}", paragraph(self.introduction)]
        for name, section in self.sections.items():
            if name in parts and parts[name].results:
                blocks += self._section(name, section, parts[name])
        return join(blocks) + "\n"

    def _section(self, name: str, section: Section, part: Part) -> list[str]:
        alone = len(self.sections) == 1
        command = f"python -m tools.{self.tool}" + ("" if alone else f" --part {name}")
        machines = describe(part.machines.values())
        written = f"Written by `{command}`" + (f" ({machines})." if machines else ".")
        heading = "" if alone else f"## {section.title}"
        return [heading, paragraph(f"{written} {section.text}"), section.tables(part.results)]


class Storage:
    """The results in a folder. Each change is written at once, so that an interrupted run keeps
    what it measured.

    Args:
        folder: Where results.json and RESULTS.md are, or will be.
        report: How they are stored and presented.

    Attributes:
        parts: Stored parts by name.
    """

    def __init__(self, folder: Path, report: Report) -> None:
        self.folder, self.report = folder, report
        path = folder / "results.json"
        stored = json.loads(path.read_text()) if path.exists() else {}
        self.parts = {name: self._part(content) for name, content in stored.items()}

    def results(self, part: str) -> tuple[Any, ...]:
        """Return the stored results of a part, none where it was not measured."""
        return self.parts.get(part, Part()).results

    def merge(
        self,
        part: str,
        results: Iterable[Any],
        *,
        key: Callable[[Any], Any] = lambda result: None,
        order: Callable[[Any], Any] = lambda result: 0,
        machines: Mapping[str, Machine] | None = None,
    ) -> None:
        """Store results in place of those with the same keys.

        Args:
            part: Name of the part.
            results: Dataclasses.
            key: What identifies a result. By default all stored results are replaced.
            order: Sort key of the results; those with equal ones stay in the order of measurement.
            machines: Where the results were measured, by backend. Defaults to this machine.
        """
        results, stored = tuple(results), self.parts.get(part, Part())
        measured = {key(result) for result in results}
        rest = (result for result in stored.results if key(result) not in measured)
        here = {backend(): machine()} if machines is None else machines
        self.parts[part] = Part(
            results=tuple(sorted((*rest, *results), key=order)),
            machines={**stored.machines, **here},
        )
        self._write()

    def markdown(self) -> str:
        """Return what RESULTS.md says."""
        return self.report.markdown(self.parts)

    def _part(self, content: Mapping[str, Any]) -> Part:
        return Part(
            results=tuple(decode(result, self.report.kinds) for result in content["results"]),
            machines={name: Machine(**fields) for name, fields in content["machines"].items()},
        )

    def _write(self) -> None:
        stored = {
            name: {
                "machines": {key: asdict(where) for key, where in part.machines.items()},
                "results": [encode(result) for result in part.results],
            }
            for name, part in self._ordered()
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "results.json").write_text(json.dumps(stored, indent=1) + "\n")
        (self.folder / "RESULTS.md").write_text(self.markdown())

    def _ordered(self) -> Iterable[tuple[str, Part]]:
        return ((name, self.parts[name]) for name in self.report.sections if name in self.parts)
