"""Whether the tests notice small changes to what everything else rests on. Run `python -m
tools.mutation`."""
