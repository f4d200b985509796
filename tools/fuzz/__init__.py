"""Damaged files, kills and full disks: what `keras-prelu convert` promises to survive. `python -m
tools.fuzz`."""
