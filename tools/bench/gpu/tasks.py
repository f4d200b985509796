"""Parts of the benchmark and their tasks, each of which runs in a process of its own with a time
limit."""

from __future__ import annotations

PARTS = ("step", "job", "activation", "demo", "inference")
_POLICIES = ("mixed_bfloat16", "float32")
_MODES = {"jax": ("jit",), "torch": ("eager", "graph", "compile")}
_LIMITS = {"step": 170, "job": 280, "activation": 100, "demo": 120, "inference": 120}
BACKENDS = tuple(_MODES)


def tasks(part: str, backend: str) -> tuple[str, ...]:
    """Return the tasks of a part, "part:detail"; for a task, that task.

    Raises:
        ValueError: There is no such part or task.
    """
    name, _, detail = part.partition(":")
    details = {
        "step": _POLICIES,
        "inference": _POLICIES,
        "activation": _MODES[backend],
        "job": ("all",),
        "demo": ("all",),
    }.get(name, ())
    if not details or (detail and detail not in details):
        raise ValueError(
            f"There is no part {part!r} with {backend}: give one of {', '.join(PARTS)}, or one of"
            f" its tasks: {name}:…"
        )
    return tuple(f"{name}:{known}" for known in details if detail in ("", known))


def limit(task: str) -> float:
    """Return the seconds that a task may take."""
    return _LIMITS[task.partition(":")[0]]
