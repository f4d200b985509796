"""What PReLU costs, measured against ReLU: time, memory, and what bounds both. Run `python -m
tools.bench`."""
