"""Versions of what is installed, where tests expect what older ones can't do."""

from importlib import metadata

from keras_prelu.utils.versions import numbers


def older(package, version):
    """Whether an older version of a package is installed."""
    return numbers(metadata.version(package)) < numbers(version)
