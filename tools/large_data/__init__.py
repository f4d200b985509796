"""Reading an image data set that does not fit into memory: peak memory and rate, side by side."""
