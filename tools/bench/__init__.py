"""What PReLU and conversion cost in time and memory. Run `python -m tools.bench`."""
