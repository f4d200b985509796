"""What tests share.

- `models`: small networks of every kind, with the weights and inputs of a trained one.
- `custom`: layers and models with Python code of their own.
- `references`: formulas in NumPy, independent of the package.
- `gradients`: gradients on the active backend, finite differences, and the bytes kept for backward.
- `memory`: what JAX keeps and allocates for a training step.
- `threads`: two threads that overlap.
- `versions`: whether an installed package is older than a version.
"""
