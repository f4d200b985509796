"""What converting a file costs: time and memory, by the size of the model. `python -m
tools.scale`."""
