"""What measuring a network costs: diagnostics beside predictions, and the callback beside
training."""
