"""When PReLU helps: every recipe and control on tasks of many kinds. `python -m tools.study`."""
