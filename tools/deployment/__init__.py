"""What exported networks compute and cost in the runtimes that they are exported for. `python -m
tools.deployment`."""
