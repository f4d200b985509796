"""How well calibration keeps a network's function, what it needs, and what it costs. `python -m
tools.calibration`."""
