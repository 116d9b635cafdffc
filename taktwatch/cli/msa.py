"""Measurement system analysis, people and models as appraisers: msa, msa-sheet, msa-read."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from taktwatch.cli.shell import ConfigOption, JsonOption, app, configure_logging, out, read_config
from taktwatch.errors import ConfigError

__all__ = ["msa", "msa_read", "msa_sheet"]


@app.command()
def msa(
    table: Annotated[Path, typer.Argument(help="CSV with part, appraiser, trial, and rating or measured values.")],
    tolerance: Annotated[
        list[str] | None, typer.Option(help="QUANTITY=WIDTH: the whole tolerance of a measured quantity.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the resampling that gives intervals.")] = 0,
    json: JsonOption = False,
) -> None:
    """Study a measurement system: agreement of inspectors and model (kappa), or gauge R&R of measured values."""
    from detector.evaluation.console import print_study
    from detector.evaluation.msa import analyse

    widths: dict[str, float] = {}
    for text in tolerance or []:
        quantity, _, width = text.partition("=")
        try:
            widths[quantity] = float(width)
        except ValueError:
            raise ConfigError(f"--tolerance {text!r} is not QUANTITY=WIDTH, such as depth_um=20") from None
    try:
        words = table.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {table}: {error}") from error
    study = analyse(words, str(table), tolerances=widths, seed=seed)
    if json:
        sys.stdout.write(msgspec.json.encode(study).decode() + "\n")
    else:
        print_study(out, study)


@app.command("msa-sheet")
def msa_sheet(
    dataset: Annotated[str, typer.Argument(help="A folder (DeepPCB's or COCO's format), or sim:board?layouts=40.")],
    appraiser: Annotated[list[str], typer.Option(help="Who reads; once for each person.")],
    parts: Annotated[int, typer.Option(min=2, help="So many pictures, drawn by chance.")] = 50,
    trials: Annotated[int, typer.Option(min=1, help="How often each person reads each part.")] = 2,
    seed: Annotated[int, typer.Option(help="Of what is drawn, and of the order of each sheet.")] = 0,
    out_dir: Annotated[Path, typer.Option("--out", help="The study's folder.")] = Path("runs/msa"),
) -> None:
    """Make blind, shuffled sheets to read: a folder of numbered pictures for each person and trial."""
    from detector.evaluation.reading import make_sheets

    key = make_sheets(dataset, out_dir, appraiser, parts=parts, trials=trials, seed=seed)
    for sheet in key.sheets:
        out.print(f"{out_dir / sheet.folder}: write good or bad into sheet.csv", highlight=False, soft_wrap=True)
    out.print(f"{out_dir / 'key.json'}: which is which; keep it from who reads", highlight=False, soft_wrap=True)


@app.command("msa-read")
def msa_read(
    model: Annotated[str, typer.Argument(help="A model's folder, or its name in the models folder.")],
    study: Annotated[Path, typer.Option(help="The folder that `msa-sheet` made, its sheets filled in.")] = Path(
        "runs/msa"
    ),
    product: Annotated[str | None, typer.Option(help="By whose rules the model and the truth are judged.")] = None,
    config: ConfigOption = None,
) -> None:
    """Gather the sheets that people filled in, add the model's own readings, write the table for `taktwatch msa`."""
    from detector.evaluation.reading import read_table
    from detector.evaluation.runner import Runner, choose_product, model_folder

    configure_logging(logging.WARNING)
    settings = read_config(config)
    table = read_table(
        study, lambda data: Runner(settings, model_folder(settings, model), choose_product(settings, data, product))
    )
    out.print(f"{table}: study it with `taktwatch msa {table}`", highlight=False, soft_wrap=True)
