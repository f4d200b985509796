"""`keras-prelu bake`: a converted model as stock Keras layers."""

from __future__ import annotations

from pathlib import Path

import click

from keras_prelu.cli.pruning import prune_option
from keras_prelu.cli.session import Session, session_options

__all__ = ["command"]


@click.command("bake")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write.  [default: MODEL.stock.keras beside MODEL]",
)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option(
    "--fold-batch-normalization",
    "fold",
    is_flag=True,
    help="Take BatchNormalization into the layer before it.",
)
@prune_option
@session_options
def command(
    model: Path, output: Path | None, force: bool, fold: bool, prune: float, session: Session
) -> None:
    """Write MODEL, a converted one, as stock Keras layers: it loads where keras_prelu is not
    installed. MODEL itself is not touched.

    \b
    Example:
      keras-prelu bake model.prelu.keras --fold-batch-normalization
    """
    from keras_prelu.cli.console import print_json
    from keras_prelu.conversion.bake import bake
    from keras_prelu.io.model_files import beside, check_output, load_model, save_model

    output = output or beside(model, "stock")
    converted = load_model(model, allow_unsafe=session.allow_unsafe)
    check_output(output, force=force)
    baked = bake(converted, fold_batch_normalization=fold, prune=prune)
    save_model(baked, output, force=force)
    if session.json:
        print_json({"model": model, "output": output, "parameters": baked.count_params()})
        return
    click.echo(f"Wrote {output}.")
