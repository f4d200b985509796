"""The part `transfer`: results are stored as they come, and what is stored is not measured again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import click

from tools.common.packages import Packages, unavailable
from tools.common.storage import Storage
from tools.study.transfer.measure import Transfer, measure_transfer
from tools.study.transfer.settings import SETTINGS, TransferSetting

__all__ = ["TRANSFER", "measure_transfers"]

TRANSFER = "transfer"


def measure_transfers(storage: Storage, seeds: int, only: str, packages: Packages) -> None:
    """Measure the settings with few samples first: the leading methods with all seeds, and then the
    others.

    Raises:
        PackageUnavailable: Nothing can be fetched.
    """
    wanted = [setting for setting in SETTINGS if only in setting.name]
    settings = _available(wanted, packages)
    names = [setting.name for setting in SETTINGS]
    for samples in dict.fromkeys(setting.samples for setting in settings):
        group = [setting for setting in settings if setting.samples == samples]
        for only_leading, seed, setting in product((True, False), range(seeds), group):
            stored = _stored(storage, setting, seed)
            for result in measure_transfer(
                setting, seed, packages, stored, only_leading=only_leading
            ):
                storage.merge(
                    TRANSFER,
                    [result],
                    key=lambda item: (item.setting, item.seed, item.method),
                    order=lambda item: (names.index(item.setting), item.seed),
                )
                click.echo(_line(result), err=True)


def _available(
    settings: Sequence[TransferSetting], packages: Packages
) -> Sequence[TransferSetting]:
    """Return the settings whose packages are there or can be fetched."""
    missing = unavailable((setting.task for setting in settings), packages)
    left = [setting for setting in settings if setting.task.name not in missing]
    if settings and not left:
        raise next(iter(missing.values()))
    return left


def _stored(storage: Storage, setting: TransferSetting, seed: int) -> list[Transfer]:
    return [
        result
        for result in storage.results(TRANSFER)
        if (result.setting, result.seed) == (setting.name, seed)
    ]


def _line(result: Transfer) -> str:
    chosen = f", {result.choice} ×{result.multiplier:g}" if result.method == "auto" else ""
    return (
        f"{result.setting}, seed {result.seed}: {result.method}{chosen}:"
        f" {result.accuracy:.2f} %, {result.seconds:.0f} CPU seconds"
    )
