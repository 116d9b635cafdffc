"""How a model comes about and what it is worth: train, evaluate."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from taktwatch.cli.shell import ConfigOption, JsonOption, app, configure_logging, err, out, read_config

__all__ = ["evaluate", "train"]


@app.command()
def train(
    spec: Annotated[str, typer.Option(help="What is trained: board-sim, section-sim, board-deeppcb ...")],
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            help="A folder (DeepPCB's format or COCO's), or sim:board?first=0&...; default: the simulator. Several are "
            "mixed, and the first is validated on."
        ),
    ] = None,
    share: Annotated[
        list[float] | None, typer.Option(help="Of several data sets, in their order; default: by pictures.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Start from this model's weights: a folder, or a name in models/.")
    ] = None,
    freeze: Annotated[int, typer.Option(min=0, max=5, help="So many stages of its trunk stay as they are.")] = 0,
    trunk_rate: Annotated[
        float, typer.Option(min=0.001, max=1, help="The trunk's share of the learning rate, with --from.")
    ] = 0.1,
    out_dir: Annotated[Path | None, typer.Option("--out", help="The model's folder; default: runs/SPEC.")] = None,
    data_licence: Annotated[
        list[str] | None, typer.Option(help="The licence of each folder, in their order, for the model's card.")
    ] = None,
    commercial_use: Annotated[bool, typer.Option("--commercial-use", help="All allow commercial use.")] = False,
    validate_boards: Annotated[
        str, typer.Option(help="Boards held out for validation, with commas between; default: drawn by chance.")
    ] = "",
    validate_share: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of pictures held out, by whole boards.")
    ] = 0.1,
    style: Annotated[str, typer.Option(help="How the simulator draws, without --dataset: plain or varied.")] = "plain",
    seed: Annotated[int, typer.Option(help="The same seed gives the same pictures and the same run.")] = 1,
    steps: Annotated[int, typer.Option(min=1)] = 3000,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long; the learning rate follows.")] = None,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make samples.")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="Threads that train.")] = 2,
    config: ConfigOption = None,
) -> None:
    """Train a model on pictures with truth, or go on where a run was cut off; writes weights and a model card."""
    from detector.evaluation.runner import model_folder
    from detector.training.command import Data, Start, mixed_sets, train_labelled, train_simulated
    from detector.training.loop import fastest_precision
    from detector.training.settings import TrainSettings, find_style

    folder = out_dir or Path("runs") / spec
    settings = TrainSettings(
        seed=seed,
        steps=steps,
        minutes=minutes,
        batch=batch,
        workers=workers,
        threads=threads,
        precision=fastest_precision(),
        style=find_style(style),
    )
    origin = Start(None if start is None else model_folder(read_config(config), start), freeze, trunk_rate)
    if not dataset:
        train_simulated(spec, folder, settings, origin)
    else:
        boards = tuple(name for name in validate_boards.split(",") if name)
        like = Data("", "", commercial_use, boards, validate_share)
        train_labelled(spec, folder, settings, mixed_sets(dataset, share or (), data_licence or (), like), origin)
    out.print(f"{folder}: weights.safetensors, card.json, MODEL_CARD.md, training.html", highlight=False)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A model's folder, or its name in the models folder.")],
    dataset: Annotated[
        str, typer.Option(help="A folder (DeepPCB's or COCO's format), or sim:board?layouts=40&boards=5.")
    ],
    against: Annotated[str | None, typer.Option(help="Another model to compare with on the same pictures.")] = None,
    engine: Annotated[
        str | None, typer.Option(help="Run it on this engine, proven or not; default: the line's")
    ] = None,
    against_engine: Annotated[
        str | None, typer.Option(help="The engine of the other; alone: the same model is compared on it.")
    ] = None,
    product: Annotated[
        str | None, typer.Option(help="By whose rules; default: deeppcb for its format, else the first that fits.")
    ] = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="The report's folder; default: runs/evaluate.")] = None,
    seed: Annotated[int, typer.Option(help="Of the resampling that gives intervals.")] = 0,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Measure a model on pictures with truth: figures with intervals, report.html and metrics.json."""
    from detector.evaluation.console import print_report
    from detector.evaluation.evaluate import evaluate as run_evaluation

    configure_logging(logging.WARNING)
    settings = read_config(config)
    folder = out_dir or Path("runs") / "evaluate"
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        disable=json,
    )
    tasks: dict[str, Any] = {}

    def on_progress(name: str, done: int, total: int) -> None:
        if name not in tasks:
            bars.start()
            tasks[name] = bars.add_task(name, total=total)
        bars.update(tasks[name], completed=done)

    try:
        report = run_evaluation(
            settings,
            model,
            dataset,
            folder,
            against=against,
            engine=engine,
            against_engine=against_engine,
            product=product,
            seed=seed,
            on_progress=on_progress,
        )
    finally:
        if tasks:
            bars.stop()
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        print_report(out, report)
        out.print(f"{folder / report.page}", highlight=False, soft_wrap=True)
