"""Every architecture that people own, converted: `python -m tools.zoo`."""
