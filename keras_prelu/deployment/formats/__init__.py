"""The formats that a model can be exported to; `registry` lists them by name."""
