"""Versions of what is installed, where tests expect what older versions can't do."""

from importlib import metadata

from keras_prelu.utils.versions import version_key


def older(package, version):
    """Say whether an older version of a package is installed."""
    return version_key(metadata.version(package)) < version_key(version)
