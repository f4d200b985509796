"""The command line: `keras-prelu`. Each command is a file; they parse, call and print."""
