"""The command line: `taktwatch demo | run | inspect | train | evaluate | models | product | calibrate | replay ...`."""

import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from taktwatch import __version__
from taktwatch.app import SERVICES, Line, open_line, run_line
from taktwatch.clock import now
from taktwatch.config import LineConfig, load_config
from taktwatch.errors import BadInput, ConfigError, TaktwatchError
from taktwatch.records import Verdict

__all__ = ["app", "main"]

T = TypeVar("T")

app = typer.Typer(
    name="taktwatch",
    help="Streaming production-line inspection: frames in, verdicts, quality figures, alarms and evidence out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)

SHIPPED_CONFIG = Path(__file__).resolve().parent.parent / "line.toml"


class Exit(IntEnum):
    """Exit statuses: 0 all well, 1 the answer is no, 2 a mistake in what was asked, 3 a backend is away."""

    NO = 1
    MISTAKE = 2


ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="line.toml; default: ./line.toml, else the shipped one.")
]
BusOption = Annotated[str | None, typer.Option(help="sqlite:///FOLDER or kafka://HOST:PORT; default: line.toml's.")]
KpisOption = Annotated[str | None, typer.Option(help="sqlite:///FILE or influxdb://HOST:PORT; default: line.toml's.")]
PrefixOption = Annotated[str | None, typer.Option(help="Prefix of the topics; default: line.toml's.")]
StartOption = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"],
        help="Event time of the first board, UTC; the same start and seed give the same frames.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def main() -> None:
    """Run the command line; a mistake is one line on stderr, never a traceback."""
    configure_logging()
    try:
        app()
    except TaktwatchError as error:
        err.print(f"taktwatch: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(Exit.MISTAKE)


def configure_logging(level: int = logging.INFO) -> None:
    """Send structured logs to stderr: readable on a terminal, JSON elsewhere."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters of it is raised, and said in our words
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer(sort_keys=True)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


def read_config(path: Path | None, **overrides: Any) -> LineConfig:
    """Load the named line.toml, or ./line.toml, or the shipped one."""
    if path is None:
        here = Path("line.toml")
        path = here if here.exists() else SHIPPED_CONFIG
    return load_config(path, **overrides)


def with_signals(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine that stops when its event is set; Ctrl-C and SIGTERM set it."""

    async def run() -> T:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        return await work(stop)

    return asyncio.run(run())


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Streaming production-line inspection: frames in, verdicts, quality figures, alarms and evidence out."""


@app.command()
def run(
    services: Annotated[list[str] | None, typer.Argument(help=f"Any of: {', '.join(SERVICES)}. None: all.")] = None,
    config: ConfigOption = None,
    bus: BusOption = None,
    kpis: KpisOption = None,
    prefix: PrefixOption = None,
    member: Annotated[
        str | None, typer.Option(help="This process's stable name in its consumer groups; default: the host name.")
    ] = None,
) -> None:
    """Run the named services (all in one process by default) until stopped."""
    settings = read_config(config, bus=bus, kpis=kpis, prefix=prefix)
    names = tuple(services or SERVICES)

    async def work(stop: asyncio.Event) -> None:
        async with open_line(settings, names, member=member, patience=timedelta(seconds=60)) as line:
            structlog.get_logger().info("running", services=sorted(line.services), bus=settings.bus_url)
            await run_line(line, stop)

    with_signals(work)


@app.command()
def demo(
    boards: Annotated[int | None, typer.Option(min=1, help="How many boards, shared by the stations.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other boards.")] = 7,
    exit_: Annotated[
        bool, typer.Option("--exit", help="As fast as possible, then print the summary and exit.")
    ] = False,
    source: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A folder of pictures instead of the simulator.")
    ] = None,
    product: Annotated[
        str | None, typer.Option(help="What the folder shows; default deeppcb for ID_test pictures.")
    ] = None,
    config: ConfigOption = None,
    bus: BusOption = None,
    kpis: KpisOption = None,
    prefix: PrefixOption = None,
    start: StartOption = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the data here; default: a folder that is removed.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the console; default: any free one with --exit.")] = None,
    json: JsonOption = False,
) -> None:
    """Run a whole line: boards, inspection, KPIs, alerts, console. Exits 1 when the ledger does not balance."""
    from taktwatch.demo import plan, run_demo
    from taktwatch.rehearsal import rehearse
    from taktwatch.report import print_summary

    configure_logging(logging.WARNING)
    total = boards or (300 if exit_ else None)
    folder = data_dir or Path(tempfile.mkdtemp(prefix="taktwatch-demo-"))
    try:
        settings = read_config(config, bus=bus, kpis=kpis)
        began = start.replace(tzinfo=UTC) if start else now().replace(microsecond=0)
        if start is None and exit_ and total is not None:
            began -= timedelta(seconds=2 * total)  # the last stamp is no later than now
        console_port = port if port is not None else (0 if exit_ else settings.console.port)
        settings = settings.model_copy(
            update={
                "data_dir": folder.resolve(),
                "prefix": prefix
                or (f"taktwatch.demo-{now():%Y%m%d%H%M%S}" if settings.bus.startswith("kafka") else "taktwatch"),
                "console": settings.console.model_copy(update={"port": console_port}),
            }
        )
        settings = plan(settings, boards=total, seed=seed, source=source, product=product, start=began, paced=not exit_)
        settings = rehearse(settings, settings.data_dir, began)
        with Progress(
            TextColumn("{task.description:10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[verdicts]}"),
            TimeElapsedColumn(),
            console=err,
            disable=json,
        ) as bars:

            def on_ready(line: Line, seen: Any) -> None:
                if not json:
                    tasks = {
                        station.name: bars.add_task(station.name, total=station.source.boards, verdicts="")
                        for station in line.config.stations
                    }
                    background.append(asyncio.ensure_future(show_progress(line, seen, bars, tasks)))

            background: list[asyncio.Future[None]] = []
            summary = with_signals(
                lambda stop: run_demo(settings, stop, exit_when_done=exit_, on_ready=on_ready, clock=time.monotonic)
            )
        if json:
            sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
        else:
            print_summary(out, summary)
    finally:
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
    if not summary.balanced or (exit_ and any(station.pending for station in summary.stations)):
        raise typer.Exit(Exit.NO)


async def show_progress(line: Line, seen: Any, bars: Progress, tasks: dict[str, Any]) -> None:
    """Move the progress bars along, and say once where the console is."""
    console: Any = line.services["console"]
    await console.listening.wait()
    bars.console.print(f"Console: {console.url}   (Ctrl-C stops)")
    while True:
        for station, task in tasks.items():
            results = [result for result in seen.results.values() if result.station == station]
            stopped = sum(result.verdict is not Verdict.PASS for result in results)
            bars.update(task, completed=len(results), verdicts=f"{stopped} stopped")
        await asyncio.sleep(0.25)


@app.command()
def inspect(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files.")],
    template: Annotated[
        Path | None, typer.Option(help="The golden template; default: ID_temp.* beside ID_test.*, else the product's.")
    ] = None,
    product: Annotated[str | None, typer.Option(help="What the pictures show; default: the first station's.")] = None,
    config: ConfigOption = None,
    overlay: Annotated[Path | None, typer.Option(help="Write pictures with the findings drawn on them here.")] = None,
    json: JsonOption = False,
) -> None:
    """Inspect pictures and say what was found, one line a picture; exit 1 when one could not be inspected.

    Pictures too large for one piece (panels) are read by rows and inspected in strips; of them no overlay is drawn.
    """
    from taktwatch.inspection import inspect_files

    configure_logging(logging.WARNING)
    settings = read_config(config)
    chosen = product or next((station.product for station in settings.stations), None)
    if chosen is None:
        raise ConfigError("no product to inspect for; name one with --product")
    failed = False
    for answer in inspect_files(settings, chosen, pictures, template=template, overlay=overlay):
        failed = failed or answer.error is not None
        if json:
            sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
            sys.stdout.flush()
        elif answer.error is not None:
            err.print(f"taktwatch: {answer.error}", style="red", highlight=False, markup=False, soft_wrap=True)
        else:
            reasons = "; ".join(answer.reasons or ()) or "nothing found"
            out.print(f"{answer.file}: {answer.verdict} - {reasons}", highlight=False, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(Exit.NO)


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
    from detector.training.settings import TrainSettings, find_style

    folder = out_dir or Path("runs") / spec
    settings = TrainSettings(
        seed=seed,
        steps=steps,
        minutes=minutes,
        batch=batch,
        workers=workers,
        threads=threads,
        precision="bfloat16",
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


@app.command()
def ledger(
    config: ConfigOption = None, bus: BusOption = None, prefix: PrefixOption = None, json: JsonOption = False
) -> None:
    """Print accepted = inspected + skipped + dead + pending + lost by station; exit 1 when it does not balance."""
    from taktwatch.ledger import read_ledger
    from taktwatch.report import print_ledger

    settings = read_config(config, bus=bus, prefix=prefix)

    async def work(_: asyncio.Event) -> Any:
        async with open_line(settings, ()) as line:
            return await read_ledger(line)

    stations = with_signals(work)
    if json:
        sys.stdout.write(msgspec.json.encode(stations).decode() + "\n")
    else:
        print_ledger(out, stations)
    if not all(station.balanced for station in stations):
        raise typer.Exit(Exit.NO)


@app.command()
def doctor(
    config: ConfigOption = None,
    bus: BusOption = None,
    kpis: KpisOption = None,
    prefix: PrefixOption = None,
    json: JsonOption = False,
) -> None:
    """Check configuration, bus, topics, store, models, templates, disk, spool and clock; exit 1 when one failed."""
    from taktwatch.doctor import Check, State, examine
    from taktwatch.report import print_checks

    configure_logging(logging.WARNING)
    try:
        settings = read_config(config, bus=bus, kpis=kpis, prefix=prefix)
    except ConfigError as error:
        checks = [Check("configuration", State.FAILED, str(error), "correct it; nothing else was looked at")]
    else:
        checks = with_signals(lambda _: examine(settings, os.environ, now()))
    if json:
        sys.stdout.write(msgspec.json.encode(checks).decode() + "\n")
    else:
        print_checks(out, checks)
    if any(check.state is State.FAILED for check in checks):
        raise typer.Exit(Exit.NO)


@app.command()
def baseline(
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"])],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"])],
    station: Annotated[str, typer.Option(help="Whose windows.")],
    product: Annotated[str | None, typer.Option(help="Of which product; default: the station's in line.toml.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Of which figure of spc.metrics; default: the first in line.toml.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compute and print; charts keep their limits.")] = False,
    config: ConfigOption = None,
    bus: BusOption = None,
    kpis: KpisOption = None,
    prefix: PrefixOption = None,
    json: JsonOption = False,
) -> None:
    """Make control limits of a calm time (event time UTC, `until` exclusive); the charts take them at once."""
    from taktwatch.baselines import choose_baseline, print_baseline

    configure_logging(logging.WARNING)
    settings = read_config(config, bus=bus, kpis=kpis, prefix=prefix)
    if since >= until:
        raise ConfigError(f"--since {since} is not before --until {until}")
    span = since.replace(tzinfo=UTC), until.replace(tzinfo=UTC)
    made = with_signals(
        lambda _: choose_baseline(settings, *span, station, product, metric=metric, publish=not dry_run)
    )
    if json:
        sys.stdout.write(msgspec.json.encode(made).decode() + "\n")
    else:
        print_baseline(out, made, settings, published=not dry_run)


@app.command()
def replay(
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"])],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"])],
    station: Annotated[str | None, typer.Option(help="Only this station.")] = None,
    model: Annotated[str | None, typer.Option(help="Another model than the product's.")] = None,
    config: ConfigOption = None,
    bus: BusOption = None,
    prefix: PrefixOption = None,
    json: JsonOption = False,
) -> None:
    """Inspect recorded frames again (event time UTC, `until` exclusive); exit 1 when something differs."""
    from taktwatch.rehearsal import recall
    from taktwatch.replay import run_replay
    from taktwatch.report import print_comparison

    configure_logging(logging.WARNING)
    settings = recall(read_config(config, bus=bus, prefix=prefix))
    if since >= until:
        raise ConfigError(f"--since {since} is not before --until {until}")
    comparison, topics = with_signals(
        lambda stop: run_replay(
            settings,
            stop,
            since=since.replace(tzinfo=UTC),
            until=until.replace(tzinfo=UTC),
            station=station,
            model=model,
        )
    )
    if json:
        sys.stdout.write(msgspec.json.encode(comparison).decode() + "\n")
    else:
        out.print(f"Replayed into {topics.prefix}.*", highlight=False)
        print_comparison(out, comparison)
    if not comparison.equal:
        raise typer.Exit(Exit.NO)


models_app = typer.Typer(name="models", help="Models and the engines that run them.", no_args_is_help=True)
app.add_typer(models_app)

ModelArgument = Annotated[str, typer.Argument(help="A model's folder, or its name in the models folder.")]


@models_app.command("list")
def models_list(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the models of the models folder."""
    from detector.registry import list_models
    from detector.tables import print_models

    cards = list_models(read_config(config).detector.models_dir)
    if json:
        for card in cards:
            sys.stdout.write(card.model_dump_json() + "\n")
    else:
        print_models(out, cards)


@models_app.command("show")
def models_show(model: ModelArgument, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show what is known of a model, and which engines were proven to run it here."""
    from detector.evaluation.runner import model_folder
    from detector.proofs import made_here, shipped
    from detector.registry import read_card
    from detector.screening import read_screenings
    from detector.tables import print_model, print_screenings

    settings = read_config(config)
    folder = model_folder(settings, model)
    card = read_card(folder)
    if json:
        sys.stdout.write(card.model_dump_json() + "\n")
    else:
        print_model(out, card, made_here(settings.detector.engines_dir, card), shipped(folder, card))
        print_screenings(out, read_screenings(folder, card.model_id))


@models_app.command("add")
def models_add(
    folder: Annotated[Path, typer.Argument(help="A model's folder, as training leaves it.")],
    name: Annotated[str | None, typer.Option(help="Its name in the models folder; default: the card's.")] = None,
    config: ConfigOption = None,
) -> None:
    """Take a model into the models folder, checked: weights those its card names, a licence, a spec that fits."""
    from detector.registry import add_model, read_card

    models_dir = read_config(config).detector.models_dir
    card = add_model(folder, models_dir, name or read_card(folder).name)
    out.print(f"{models_dir / (name or card.name)}: {card.model_id}", highlight=False, soft_wrap=True)


@models_app.command("import")
def models_import(
    file: Annotated[
        Path, typer.Argument(help="A state_dict of torchvision's Mask or Faster R-CNN: .pth, .safetensors")
    ],
    name: Annotated[str, typer.Option(help="Its name in the models folder.")],
    licence: Annotated[str, typer.Option(help="Under which terms the file came.")],
    source: Annotated[str, typer.Option(help="Where the file came from.")],
    commercial_use: Annotated[
        bool | None,
        typer.Option(
            "--commercial-use/--no-commercial-use",
            help="Do its data and the weights it started from (ImageNet's, mostly) allow it? Default: unknown.",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Bring in a COCO checkpoint (ResNet-50 or 101, FPN) to train from; a file with code in it is refused."""
    from detector.importing import import_checkpoint

    models_dir = read_config(config).detector.models_dir
    card = import_checkpoint(file, models_dir, name=name, licence=licence, source=source, commercial_use=commercial_use)
    out.print(
        f"{models_dir / name}: {card.model_id}, {card.spec.backbone}, {len(card.spec.classes)} classes, "
        f"commercial use {'allowed' if card.commercial_use else 'refused'}",
        highlight=False,
        soft_wrap=True,
    )


@models_app.command("activate")
def models_activate(
    model: Annotated[str, typer.Argument(help="Its name in the models folder.")],
    product: Annotated[str, typer.Option(help="Which product it inspects from now on.")],
    author: Annotated[str, typer.Option(help="Who decides.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    boards: Annotated[int, typer.Option(min=1, help="Golden boards that engine and reference are compared on.")] = 100,
    config: ConfigOption = None,
    bus: BusOption = None,
    prefix: PrefixOption = None,
) -> None:
    """Let a model inspect a product: refused for its licence on a commercial line, and for an engine that drifts."""
    from detector.activation import check_activation
    from taktwatch.activation import activation_of, publish_activation

    settings = read_config(config, bus=bus, prefix=prefix)
    with boards_progress(f"{model} for {product}", boards, quiet=False) as advance:
        card = check_activation(settings, product, model, boards=boards, on_boards=advance)
    chosen = activation_of(settings, product, model, model_id=card.model_id, author=author, reason=reason, at=now())

    async def work(_: asyncio.Event) -> None:
        async with open_line(settings, ()) as line:
            await publish_activation(line.bus, line.topics, chosen)

    with_signals(work)
    out.print(f"{card.model_id} inspects {product!r} from now on", highlight=False, soft_wrap=True)


@models_app.command("shadow")
def models_shadow(
    model: Annotated[str, typer.Argument(help="Its name in the models folder; none to end it.")],
    product: Annotated[str, typer.Option(help="Beside which product's model it runs.")],
    author: Annotated[str, typer.Option(help="Who decides.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    config: ConfigOption = None,
    bus: BusOption = None,
    prefix: PrefixOption = None,
) -> None:
    """Let a model run beside the one that inspects a product: on the same frames, counted by nobody."""
    from detector.registry import load_model
    from taktwatch.activation import activation_of, as_activated, publish_activation, read_activations

    settings = read_config(config, bus=bus, prefix=prefix)
    beside = "" if model == "none" else model
    if beside:
        load_model(settings.detector.models_dir / beside)

    async def work(_: asyncio.Event) -> None:
        async with open_line(settings, ()) as line:
            known = await read_activations(line.bus, line.topics, settings.line, [product])
            serving = as_activated(settings, known).product(product).model
            model_id = known[product].model_id if product in known and known[product].model == serving else ""
            chosen = activation_of(
                settings, product, serving, model_id=model_id, shadow=beside, author=author, reason=reason, at=now()
            )
            await publish_activation(line.bus, line.topics, chosen)

    with_signals(work)
    words = f"{beside} runs beside it from now on" if beside else "no model runs beside it any more"
    out.print(f"product {product!r}: {words}", highlight=False, soft_wrap=True)


@models_app.command("shadow-report")
def models_shadow_report(
    product: Annotated[str, typer.Option(help="Of which product.")],
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"])
    ] = None,
    config: ConfigOption = None,
    bus: BusOption = None,
    prefix: PrefixOption = None,
    json: JsonOption = False,
) -> None:
    """Compare the model that runs beside with the counted one, on the frames that both saw (`since`: UTC)."""
    from detector.evaluation.shadowing import words_of
    from detector.shadow_report import shadow_report

    settings = read_config(config, bus=bus, prefix=prefix)
    start = None if since is None else since.replace(tzinfo=UTC)

    async def work(_: asyncio.Event) -> None:
        async with open_line(settings, ()) as line:
            said = await shadow_report(line.bus, line.topics, product, since=start)
        if said is None:
            raise BadInput(f"no frame of {product!r} was seen by two models; see `taktwatch models shadow`")
        text = msgspec.json.encode(said).decode() if json else "\n".join(words_of(said))
        out.print(text, highlight=False, soft_wrap=True)

    with_signals(work)


@models_app.command("export")
def models_export(
    model: ModelArgument,
    engine: Annotated[str, typer.Option(help="openvino, openvino-int8, onnx; or torchscript, for C++.")],
    config: ConfigOption = None,
) -> None:
    """Export a model for a runtime; done by itself where a line wants it."""
    from detector.engines.export import export_parts
    from detector.engines.exported import known_format
    from detector.evaluation.runner import model_folder
    from detector.registry import load_model

    settings = read_config(config)
    kind = known_format(engine)
    export = export_parts(load_model(model_folder(settings, model)), kind, settings.detector.engines_dir)
    out.print(f"{export.folder}: {', '.join(sorted(export.card.files))}", highlight=False, soft_wrap=True)


@models_app.command("verify")
def models_verify(
    model: ModelArgument,
    engine: Annotated[list[str], typer.Option(help="Each of those that `detector.engine` may name, but auto.")],
    boards: Annotated[int, typer.Option(min=1, help="Simulated boards; a line wants 3000.")] = 3000,
    ship: Annotated[bool, typer.Option(help="Put the proofs beside the model, too, for other machines like this.")] = (
        False
    ),
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Compare engines with the reference and keep the proofs a line asks for; exit 1 where one differs too much.

    What was said of each board is kept: an interrupted run goes on, and further engines find the reference ready.
    """
    from detector.engines.choose import known_engine
    from detector.evaluation.runner import model_folder
    from detector.parity import shortfalls
    from detector.proofs import ship_proofs
    from detector.registry import load_model
    from detector.tables import print_parity
    from detector.verify import verify

    settings = read_config(config)
    names = [known_engine(name) for name in dict.fromkeys(engine)]
    loaded = load_model(model_folder(settings, model))
    with boards_progress(f"{loaded.card.name} {', '.join(names)}", boards, quiet=json) as advance:
        parities = verify(settings, loaded, names, boards=boards, on_boards=advance)
    for parity in parities.values():
        if json:
            sys.stdout.write(parity.model_dump_json() + "\n")
        else:
            print_parity(out, parity)
    if ship:
        ship_proofs(loaded, (one for one in parities.values() if one.export_sha256 and not shortfalls(one)))
    if any(map(shortfalls, parities.values())):
        raise typer.Exit(Exit.NO)


@models_app.command("calibrate")
def models_calibrate(
    model: ModelArgument,
    dataset: Annotated[str, typer.Option(help="Validation boards, good and defective: a folder, or sim:board?...")],
    product: Annotated[
        str | None, typer.Option(help="Whose defect rate and costs; default: deeppcb for its format, else the first.")
    ] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Each of these; default: torch.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Learn what a model's scores are worth, and the thresholds that cost least; writes calibration.json beside it."""
    from detector.engines.choose import known_engine
    from detector.evaluation.calibrating import calibrate_model
    from detector.evaluation.datasets import open_dataset
    from detector.tables import print_calibrations

    settings = read_config(config)
    names = [known_engine(name) for name in engine or ["torch"]]
    boards = open_dataset(dataset)
    with boards_progress(f"{model} calibrate", len(boards.items), quiet=json) as advance:
        made = calibrate_model(settings, model, boards, engines=names, product=product, on_board=advance)
    if json:
        sys.stdout.write(msgspec.json.encode(made).decode() + "\n")
    else:
        print_calibrations(out, made)


@models_app.command("screen")
def models_screen(
    model: ModelArgument,
    dataset: Annotated[str, typer.Option(help="Validation boards with defects: a folder, or sim:board?...")],
    product: Annotated[
        str | None, typer.Option(help="Whose limit and rules; default: deeppcb for its format, else the first.")
    ] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Each of these; default: torch.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Measure what is missed if the network looks only where the template differs; exit 1 where it is too much."""
    from detector.engines.choose import known_engine
    from detector.evaluation.datasets import open_dataset
    from detector.evaluation.runner import choose_product
    from detector.evaluation.screening import measure_screen
    from detector.screening import objection
    from detector.tables import print_screenings

    settings = read_config(config)
    names = [known_engine(name) for name in engine or ["torch"]]
    boards = open_dataset(dataset)
    rules = settings.product(choose_product(settings, boards, product))
    with boards_progress(f"{model} screen", len(boards.items), quiet=json) as advance:
        made = measure_screen(settings, model, boards, engines=names, product=product, on_board=advance)
    if json:
        sys.stdout.write(msgspec.json.encode(made).decode() + "\n")
    else:
        print_screenings(out, made, rules.screen_max_miss)
    if any(objection(one, rules) for one in made):
        raise typer.Exit(Exit.NO)


@models_app.command("bench")
def models_bench(
    model: ModelArgument,
    engine: Annotated[list[str] | None, typer.Option(help="Only these; default: all that are installed.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each.")] = 20,
    batch: Annotated[int, typer.Option(min=1, help="Pictures in a batch.")] = 4,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Time engines in turns against plain torchvision on simulated pictures, this machine, one run."""
    from detector.bench import bench_model, machine
    from detector.engines.choose import known_engine
    from detector.evaluation.runner import model_folder
    from detector.registry import load_model
    from detector.tables import print_paces

    settings = read_config(config)
    names = [known_engine(name) for name in engine or []] or None
    loaded = load_model(model_folder(settings, model))
    where = machine()
    with boards_progress(f"{loaded.card.name} bench", rounds, quiet=json) as advance:
        paces = bench_model(settings.detector, loaded, names, rounds=rounds, batch=batch, on_round=advance)
    if json:
        sys.stdout.write(msgspec.json.encode(paces).decode() + "\n")
    else:
        print_paces(out, paces, where, batch)


product_app = typer.Typer(name="product", help="Products and their golden templates.", no_args_is_help=True)
app.add_typer(product_app)


@product_app.command("new")
def product_new(
    name: Annotated[str, typer.Argument(help="The product's name, as line.toml has it.")],
    boards: Annotated[Path, typer.Option("--from", help="A folder with 3 to 64 pictures of good boards.")],
    um_per_px: Annotated[
        float | None,
        typer.Option(min=0.001, help="Scale of the pictures; default: the calibration's, else line.toml's."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="calibration.json of the camera; refused out of date.")
    ] = None,
    out_dir: Annotated[Path, typer.Option("--out", help="Where product folders are.")] = Path("products"),
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Build a golden template from good boards: their median, how far they stray, how their pictures should look."""
    from detector.calibration import load_calibration
    from detector.product import find_boards, make_product

    at = now()
    camera = None if calibration is None else load_calibration(calibration, at)
    known = read_config(config).products.get(name)
    scale = um_per_px or (None if camera is None else camera.um_per_px) or (None if known is None else known.um_per_px)
    if scale is None:
        raise ConfigError(f"what scale? line.toml has no product {name!r}; give --um-per-px or --calibration")
    if um_per_px is not None and camera is not None:
        raise ConfigError("--um-per-px and --calibration both tell the scale; give one")
    files = find_boards(boards)
    view = "board" if known is None else known.view
    card = make_product(name, files, out_dir, um_per_px=scale, now=at, calibration=camera, view=view)
    if json:
        sys.stdout.write(msgspec.json.encode(card).decode() + "\n")
        return
    fits = min(source.quality for source in card.sources)
    made = "no template" if card.template_sha256 is None else f"template {card.template_sha256[:12]}"
    out.print(
        f"{out_dir / name}: version {card.version} from {len(files)} boards (the worst fits {fits:.3f}), {made}\n"
        f'In line.toml: folder = "{out_dir / name}"'
        + ("" if camera is None else f" and um_per_px = {card.um_per_px:.4g}"),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@app.command()
def calibrate(
    pictures: Annotated[list[Path] | None, typer.Argument(help="Pictures of the board, moved between them.")] = None,
    columns: Annotated[int, typer.Option(min=3, max=20, help="Squares across the board.")] = 11,
    rows: Annotated[int, typer.Option(min=3, max=20, help="Squares down the board.")] = 8,
    square_mm: Annotated[float, typer.Option(min=0.01, help="Side of a square as printed, in mm.")] = 2.0,
    error_share: Annotated[float, typer.Option(min=0, max=0.1, help="How far squares may be off, as a share.")] = 0.001,
    valid_days: Annotated[int, typer.Option(min=1, help="Out of date after so many days.")] = 180,
    out_file: Annotated[Path, typer.Option("--out", help="Where to write.")] = Path("calibration.json"),
    print_file: Annotated[
        Path | None, typer.Option("--print", help="Draw the board as a picture here, and stop.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure a camera's scale and distortion by pictures of a ChArUco board lying where the products lie."""
    from detector.calibration import calibrate_pictures, print_target, save_calibration
    from detector.camera import CharucoTarget

    target = CharucoTarget(columns=columns, rows=rows, square_mm=square_mm, error_share=error_share)
    if print_file is not None:
        print_target(target, print_file)
        out.print(f"{print_file}: print it so that a square measures {square_mm:g} mm", highlight=False, markup=False)
        return
    found = calibrate_pictures(pictures or [], target, now=now(), valid=timedelta(days=valid_days))
    save_calibration(found, out_file)
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    out.print(
        f"{out_file}: {found.um_per_px_x:.3f} +- {found.uncertainty_um_per_px_x:.3f} um per px in x, "
        f"{found.um_per_px_y:.3f} +- {found.uncertainty_um_per_px_y:.3f} in y; the lens moves points by up to "
        f"{found.distortion_px:.1f} px; corners within {found.reprojection_px:.2f} px (RMS) of {found.views} views; "
        f"until {found.expires_at:%Y-%m-%d}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


class Advance(Protocol):
    """Moves a progress bar on."""

    def __call__(self, count: int = 1, /) -> None:
        """Move it on by so many."""


@contextmanager
def boards_progress(title: str, total: int, *, quiet: bool) -> Iterator[Advance]:
    """Show a progress bar; gives what moves it on, by one or by so many."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=quiet) as bars:
        task = bars.add_task(title, total=total)

        def advance(count: int = 1, /) -> None:
            bars.advance(task, count)

        yield advance
