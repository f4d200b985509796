"""`python -m tools.mutation`: count the mutants that the tests notice, and list the others; write
RESULTS.md and results.json."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

from tools.common import options
from tools.common.markdown import join, table
from tools.common.storage import Report, Section, Storage
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


@dataclass(frozen=True)
class Noticed:
    """How many changes of a module its tests notice.

    Attributes:
        module: Name of the module, without its package.
        mutants: Number of changes.
        survivors: By name what those change that no test notices, as a diff.
    """

    module: str
    mutants: int
    survivors: Mapping[str, str]

    @property
    def score(self) -> float:
        """Fraction of the mutants that is noticed."""
        return 1 - len(self.survivors) / self.mutants


def noticed(results: Sequence[Noticed]) -> str:
    """Return the table of modules, and every change that no test notices."""
    rows = [
        [r.module, str(r.mutants), str(r.mutants - len(r.survivors)), f"{r.score:.1%}"]
        for r in results
    ]
    blocks = [table(["module", "changes", "noticed", ""], rows)]
    for result in results:
        blocks.append(f"## Not noticed in {result.module}")
        for difference in result.survivors.values():
            blocks.append("\n".join(["```diff", *difference.splitlines()[2:], "```"]))
    return join(blocks)


REPORT = Report(
    tool="mutation",
    title="Whether the tests notice small changes",
    introduction="",
    kinds=(Noticed,),
    sections={
        "modules": Section(
            title="",
            text=f"""mutmut's changes of one place each (another operator, number, string or
            argument), each tried in a process of its own against the module's tests, on PyTorch. At
            least {WANTED:.0%} of a module's are to be noticed. The others are listed: what they
            change makes no difference, or is not tested.""",
            tables=noticed,
        )
    },
)


@click.command()
@click.argument("modules", nargs=-1, type=click.Choice(list(TARGETS)))
@click.option(
    "--jobs",
    default=2,
    show_default=True,
    type=click.IntRange(1),
    help="Number of mutants to try at once.",
)
@options.output
def main(modules: tuple[str, ...], jobs: int, output: Path | None) -> None:
    """Try all mutants of MODULES, or of all; the stored results of others are kept. Takes more than
    an hour on two cores."""
    storage = Storage(options.results_folder(output, False, __file__), REPORT)
    results = []
    for name in modules or TARGETS:
        results.append(try_mutants(name, jobs))
        storage.merge(
            "modules",
            results[-1:],
            key=lambda result: result.module,
            order=lambda result: result.module,
            machines={},
        )
    missed = [result.module for result in results if result.score < WANTED]
    if missed:
        raise click.ClickException(
            f"Fewer than {WANTED:.0%} are noticed of {', '.join(missed)}. See"
            f" {storage.folder / 'RESULTS.md'}."
        )


def try_mutants(name: str, jobs: int) -> Noticed:
    """Try all mutants of a module against its tests."""
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        mutants = Mutants(target, Path(folder))
        if mutants.notice(None):
            raise click.ClickException(
                f"The tests of {target.module} fail without any mutant. Repair them first."
            )
        outcomes = pool.map(mutants.notice, mutants.names)
        with click.progressbar(
            outcomes, label=target.module, length=len(mutants.names), show_pos=True
        ) as progress:
            killed = dict(zip(mutants.names, progress, strict=True))
        return Noticed(
            module=name,
            mutants=len(killed),
            survivors={
                mutant: mutants.difference(mutant) for mutant in killed if not killed[mutant]
            },
        )


if __name__ == "__main__":
    main()
