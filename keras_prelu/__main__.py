"""`python -m keras_prelu`: the command line, where the script `keras-prelu` is not on the path."""

from keras_prelu.cli.main import main

if __name__ == "__main__":
    main(prog_name="keras-prelu")
