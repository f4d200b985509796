"""Files of a converted model for other runtimes, checked by those runtimes."""
