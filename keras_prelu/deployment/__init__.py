"""Files of a converted model for other runtimes, checked in those runtimes."""
