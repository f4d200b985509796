"""The options that several commands share, one file per group."""
