"""Which models convert, and how much of a network's function a conversion preserves. Run
`python -m tools.fidelity`."""
