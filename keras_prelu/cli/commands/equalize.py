"""`keras-prelu equalize`: channels alike in size, for int8."""

from __future__ import annotations

from pathlib import Path

import click

from keras_prelu.cli.session import Session, session_options

__all__ = ["command"]


@click.command("equalize")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write.  [default: MODEL.equalized.keras beside MODEL]",
)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@session_options
def command(model: Path, output: Path | None, force: bool, session: Session) -> None:
    """Make the channels of adjacent layers alike in size, as per-tensor int8 needs; what MODEL
    computes stays. MODEL itself is not touched.

    \b
    Example:
      keras-prelu equalize model.prelu.keras
    """
    from keras_prelu.cli.console import number, print_json, print_table
    from keras_prelu.io.model_files import beside, check_output, load_model, save_model
    from keras_prelu.scaling.equalize import equalize

    output = output or beside(model, "equalized")
    loaded = load_model(model, allow_unsafe=session.allow_unsafe)
    check_output(output, force=force)
    groups = equalize(loaded)
    save_model(loaded, output, force=force)
    if session.json:
        print_json({"model": model, "output": output, "groups": groups})
        return
    print_table(
        "Channels that are made and used together: the largest over the smallest",
        ["made by", "used by", "channels", "before", "after", "action"],
        [
            [
                ", ".join(group.producers),
                ", ".join(group.consumers),
                str(group.channels),
                *(
                    "–" if spread != spread else number(spread, 3)
                    for spread in (group.spread_before, group.spread_after)
                ),
                group.action,
            ]
            for group in groups
        ],
        right=["channels", "before", "after"],
    )
    click.echo(f"Wrote {output}.")
