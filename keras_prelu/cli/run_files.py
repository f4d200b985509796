"""Run files: the options of a command as YAML, read by `--config` and written beside each result.

The keys are the names of the options, so that an option is declared once, in its group.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.options.groups import is_given
from keras_prelu.cli.output import echo
from keras_prelu.errors import FileError, reason_of
from keras_prelu.utils.suggestions import did_you_mean
from keras_prelu.version import __version__

__all__ = ["check_run_file", "config_option", "run_file_path", "write_run_file"]

_COMMAND, _VERSIONS = "command", "versions"
_NOT_STORED = {"config", "debug", "force", "help", "json", "output", "verbose"}


def config_option(function: Any) -> Any:
    """Add `--config` to a command: its values stand in for options that are not given."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        is_eager=True,
        expose_value=False,
        callback=_read,
        help="Run file in YAML with values of these options, such as the .run.yaml beside a result;"
        " options on the command line replace them.",
    )(function)


def run_file_path(output: Path) -> Path:
    """Return the path of the run file of a result: `m.prelu.keras` → `m.prelu.run.yaml`.

    Other files keep their suffix, as in `m.onnx.run.yaml`: one model has several of them.
    """
    stem = output.stem if output.suffix == ".keras" else output.name
    return output.with_name(f"{stem}.run.yaml")


def check_run_file(output: Path) -> None:
    """Raise a FileError if the run file of a result exists and is not to be overwritten."""
    from keras_prelu.io.model_files import check_output

    force = bool(click.get_current_context().params.get("force"))
    check_output(run_file_path(output), force=force, suffix=".yaml")


def write_run_file(output: Path) -> None:
    """Write what repeats the command that runs, beside its result.

    The result is complete without it, so that a full disk is a note and no failure.
    """
    import yaml

    from keras_prelu.io.atomic import atomic_write_text

    context = click.get_current_context()
    stored: dict[str, Any] = {_COMMAND: context.info_name, _VERSIONS: _versions()}
    defaults = []
    for parameter in context.command.params:
        key = _key(parameter)
        if key in _NOT_STORED:
            continue
        value = _plain(context.params.get(str(parameter.name)))
        if is_given(context, str(parameter.name)) or key in ("backend", "seed"):
            stored[key] = stored[_VERSIONS]["backend"] if key == "backend" else value
        else:
            defaults.append(f"# {key}: {yaml.safe_dump(value, default_flow_style=True)}")
    path = run_file_path(output)
    text = (
        f"# Repeat: keras-prelu {context.info_name} --config {shlex.quote(path.name)} -o OUTPUT\n"
        + yaml.safe_dump(stored, sort_keys=False, allow_unicode=True)
        + "# Defaults:\n"
        + "".join(line.replace("\n...", "").rstrip("\n") + "\n" for line in defaults)
    )
    force = bool(context.params.get("force"))
    try:
        atomic_write_text(path, text, overwrite=force)
    except (OSError, FileError) as error:
        echo(f"Note: The run file '{path}' was not written ({reason_of(error)}).", err=True)


def _versions() -> dict[str, str]:
    import keras

    return {
        "keras_prelu": __version__,
        "keras": str(keras.__version__),
        "backend": str(keras.backend.backend()),
    }


def _key(parameter: click.Parameter) -> str:
    """Return the key of an option: its long name, with underscores."""
    names = [name for name in parameter.opts if name.startswith("--")]
    return (names[0] if names else str(parameter.name)).removeprefix("--").replace("-", "_")


def _plain(value: Any) -> Any:
    """Return the value of an option as YAML holds it."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], float):
        return f"{value[0]}={value[1]!r}"  # of MeasureLimit
    if isinstance(value, (list, tuple)):
        return [_plain(element) for element in value]
    return str(value) if isinstance(value, (str, Path)) else value


def _read(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    """Make the values of a run file the defaults of the command, as the callback of --config."""
    if path is None:
        return
    values = _load(path)
    command = values.pop(_COMMAND, context.info_name)
    if command != context.info_name:
        raise click.UsageError(
            f"'{path}' is a run of '{command}': keras-prelu {command} --config"
            f" {shlex.quote(str(path))}"
        )
    values.pop(_VERSIONS, None)
    parameters = {_key(each): each for each in context.command.params}
    defaults = {}
    for written, value in values.items():
        key = str(written).replace("-", "_")
        if key == "config":
            raise click.UsageError(f"'{path}' names another run file, as '{written}'. Merge them.")
        if key not in parameters or key == "help":
            suggestion = did_you_mean(key, parameters, cutoff=0.5)
            raise click.UsageError(f"'{path}': there is no '{written}'.{suggestion}")
        if value is not None:
            defaults[str(parameters[key].name)] = _checked(
                path, str(written), value, parameters[key], context
            )
    context.default_map = {**(context.default_map or {}), **defaults}


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def _load(path: Path) -> dict[Any, Any]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise click.UsageError(f"'{path}' can't be read as YAML: {reason}") from error
    if not isinstance(values, Mapping):
        raise click.UsageError(f"'{path}' must hold lines of the form 'option: value'")
    names = [key.value for key, _ in node.value]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise click.UsageError(f"'{path}': {twice} stands there twice")
    # As on the command line: YAML reads 010 as 8 and 1:30 as 90.
    numbers = {key.value: value.value for key, value in node.value if value.tag in _NUMBERS}
    return {**values, **numbers}


def _checked(
    path: Path, key: str, value: Any, parameter: click.Parameter, context: click.Context
) -> Any:
    """Return a value of a run file, checked by the type of its option."""
    is_flag = isinstance(parameter, click.Option) and parameter.is_flag
    if isinstance(value, bool) != is_flag or isinstance(value, Mapping):
        kind = "true or false" if is_flag else "a value, not " + str(value).lower()
        raise click.UsageError(f"'{path}': {key} must be {kind}")
    if parameter.multiple if isinstance(parameter, click.Option) else False:
        value = list(value) if isinstance(value, (list, tuple)) else [value]
    elif isinstance(value, list):
        raise click.UsageError(f"'{path}': {key} takes one value. Received: {value}")
    text = [_text(each) for each in value] if isinstance(value, list) else _text(value)
    try:
        parameter.type_cast_value(context, text)
    except click.BadParameter as error:
        raise click.UsageError(f"'{path}': {key}: {error.message}") from error
    return text


def _text(value: Any) -> Any:
    """Return a value as it is written on the command line; flags stay flags."""
    if isinstance(value, bool):
        return value
    return repr(value) if isinstance(value, float) else str(value)
