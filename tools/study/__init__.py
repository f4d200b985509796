"""When PReLU helps: every recipe and control on tasks of many kinds. Run `python -m
tools.study`."""
