"""The command line, `keras-prelu`: one file per command in `commands`.

The commands only parse, call and print.
"""
