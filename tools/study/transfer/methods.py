"""The ways of fine-tuning all layers that are compared, as a user calls them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keras_prelu.training.recipes import AUTO, CONTROL, RESET_NORMS, REVIVE, get_recipe

__all__ = [
    "CONTROLS",
    "FIRST_RATE",
    "FURTHER",
    "HEAD_ONLY",
    "LEADING",
    "RATES",
    "REVIVED_CONTROL",
    "TransferMethod",
    "further",
    "relu_at",
]

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Learning rates of Adam that the control is searched over, from `FIRST_RATE` on."""
FIRST_RATE = 3e-3

HEAD_ONLY, REVIVED_CONTROL = "head only", "relu-revived"
_LEAKY, _RESET = "leaky-revived", "reset-identity"


@dataclass(frozen=True, kw_only=True)
class TransferMethod:
    """A call of `kp.finetune`.

    Attributes:
        name: Name in tables.
        recipe: Its `recipe`.
        multiplier: Its `SlopeConfig.multiplier`; None for the recipe's own.
    """

    name: str
    recipe: str
    multiplier: float | None = None


def relu_at(rate: float) -> str:
    """Return the name of the control at a rate."""
    return f"ReLU at {rate:g}"


CONTROLS = {rate: TransferMethod(name=relu_at(rate), recipe=CONTROL.name) for rate in RATES}

FURTHER: tuple[TransferMethod, ...] = (
    TransferMethod(name=AUTO, recipe=AUTO),
    *(
        TransferMethod(name=f"identity ×{multiplier:g}", recipe="identity", multiplier=multiplier)
        for multiplier in (3.0, 1.0, 10.0)
    ),
    *(
        TransferMethod(name=name, recipe=name)
        for name in (REVIVED_CONTROL, "identity-revived", _RESET, _LEAKY)
    ),
)

LEADING = FURTHER[:2]
"""What is measured with all seeds before the others are."""


def further(*, normalized: bool, has_dead_units: bool) -> Iterator[TransferMethod]:
    """Yield what is compared with the controls in a network, the most important first.

    A recipe that revives dead units does nothing where there are none, and norms are reset in
    networks with BatchNormalization.
    """
    for method in FURTHER:
        preparations = () if method.recipe == AUTO else get_recipe(method.recipe).preparations
        changes_nothing = REVIVE in preparations and not has_dead_units and method.recipe != _LEAKY
        if not changes_nothing and (normalized or RESET_NORMS not in preparations):
            yield method
