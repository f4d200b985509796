"""`python -m tools.mutation`: how many mutants the tests notice, and which they don't; writes
RESULTS.md and results.json."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from tools.mutation.mutants import Mutants, Target

TARGETS = {
    target.module.rpartition(".")[2]: target
    for target in (
        Target("keras_prelu.theory", ("tests/unit/test_theory.py",)),
        Target(
            "keras_prelu.parameterizations",
            ("tests/backends/test_parameterizations.py", "tests/backends/test_layers.py"),
        ),
        Target("keras_prelu.ops", ("tests/backends/test_ops.py", "tests/backends/test_layers.py")),
        Target("keras_prelu.calibration.calibrate", ("tests/unit/calibration/test_calibrate.py",)),
    )
}
WANTED = 0.9
_INTRODUCTION = f"""# Whether the tests notice small changes

Written by `python -m tools.mutation`: mutmut's changes of one place each (another operator, number, string or argument), each tried in a
process of its own against the module's tests, on PyTorch. At least {WANTED:.0%} of a module's are to be noticed. The others are listed:
what they change makes no difference, or is not tested.

"""


@click.command()
@click.argument("modules", nargs=-1, type=click.Choice(list(TARGETS)))
@click.option(
    "--jobs",
    default=2,
    show_default=True,
    type=click.IntRange(1),
    help="Mutants that are tried at once.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent,
    help="Folder of the results.",
)
def main(modules: tuple[str, ...], jobs: int, output: Path) -> None:
    """Try all mutants of MODULES, or of all; the stored results of others are kept. More than an
    hour on two cores."""
    output.mkdir(parents=True, exist_ok=True)
    stored = output / "results.json"
    results: dict[str, Any] = json.loads(stored.read_text()) if stored.exists() else {}
    for name in modules or TARGETS:
        results[name] = tried(TARGETS[name], jobs)
        stored.write_text(json.dumps(results, indent=1) + "\n")
        (output / "RESULTS.md").write_text(markdown(results))
    missed = [name for name in modules or TARGETS if score(results[name]) < WANTED]
    if missed:
        raise click.ClickException(
            f"Fewer than {WANTED:.0%} are noticed of {', '.join(missed)}; see"
            f" {output / 'RESULTS.md'}."
        )


def tried(target: Target, jobs: int) -> dict[str, Any]:
    """How many mutants a module has, and what those change that its tests don't notice."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        mutants = Mutants(target, Path(folder))
        if mutants.notice(None):
            raise click.ClickException(f"The tests of {target.module} fail without any mutant.")
        noticed = pool.map(mutants.notice, mutants.names)
        with click.progressbar(
            noticed, label=target.module, length=len(mutants.names), show_pos=True
        ) as progress:
            survivors = [
                name for name, killed in zip(mutants.names, progress, strict=True) if not killed
            ]
        return {
            "mutants": len(mutants.names),
            "survivors": {name: mutants.difference(name) for name in survivors},
        }


def score(result: Mapping[str, Any]) -> float:
    """The part of the mutants that is noticed."""
    return 1 - len(result["survivors"]) / result["mutants"]


def markdown(results: Mapping[str, Any]) -> str:
    """The table, and every change that nothing notices."""
    lines = ["| module | changes | noticed | |", "|---|---:|---:|---:|"]
    for name, result in results.items():
        noticed = result["mutants"] - len(result["survivors"])
        lines.append(f"| {name} | {result['mutants']} | {noticed} | {score(result):.1%} |")
    for name, result in results.items():
        lines += ["", f"## Not noticed in {name}"]
        for difference in result["survivors"].values():
            lines += ["", "```diff", *difference.splitlines()[2:], "```"]
    return _INTRODUCTION + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
