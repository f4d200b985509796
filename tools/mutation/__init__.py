"""Whether the tests notice small changes to the modules that all others rely on. Run
`python -m tools.mutation`."""
