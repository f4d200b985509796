"""Networks that were really trained, on real data, all from packages of public registries."""
