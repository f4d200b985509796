"""Transfer learning: networks that others trained learn new data, as ReLU and converted."""
