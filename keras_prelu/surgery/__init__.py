"""Model surgery: finding the ReLUs of a model, replacing them, and rescaling weights so that the function is kept."""
