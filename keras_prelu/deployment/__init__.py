"""Files of a converted model for the runtimes that will run it, checked by those runtimes."""
