"""The command line, `keras-prelu`: one file per command in `commands`; they only parse, call and
print."""
