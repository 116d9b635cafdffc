"""A line at work, and what its log and its store are asked: run, demo, doctor, ledger, baseline, replay."""

import asyncio
import logging
import os
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import structlog
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from taktwatch.app import SERVICES, Line, open_line, run_line
from taktwatch.cli.shell import (
    BusOption,
    ConfigOption,
    Exit,
    JsonOption,
    KpisOption,
    PrefixOption,
    app,
    configure_logging,
    err,
    out,
    read_config,
    with_signals,
)
from taktwatch.clock import now
from taktwatch.errors import ConfigError
from taktwatch.records import Verdict

__all__ = ["baseline", "demo", "doctor", "ledger", "replay", "run"]

GETTING_READY = "the network is made ready"
TIMES = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]

TimeOption = Annotated[datetime, typer.Option(formats=TIMES)]
StartOption = Annotated[
    datetime | None,
    typer.Option(
        formats=TIMES,
        help="Event time of the first board, UTC; the same start and seed give the same frames.",
    ),
]


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
                        station.name: bars.add_task(station.name, total=station.source.boards, verdicts=GETTING_READY)
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
            bars.update(task, completed=len(results), verdicts=f"{stopped} stopped" if results else GETTING_READY)
        await asyncio.sleep(0.25)


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
def baseline(
    since: TimeOption,
    until: TimeOption,
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
    span = event_time(since, until)
    made = with_signals(
        lambda _: choose_baseline(settings, *span, station, product, metric=metric, publish=not dry_run)
    )
    if json:
        sys.stdout.write(msgspec.json.encode(made).decode() + "\n")
    else:
        print_baseline(out, made, settings, published=not dry_run)


@app.command()
def replay(
    since: TimeOption,
    until: TimeOption,
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
    begin, end = event_time(since, until)
    comparison, topics = with_signals(
        lambda stop: run_replay(
            settings,
            stop,
            since=begin,
            until=end,
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


def event_time(since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Return a span of event time, both UTC. Raises `ConfigError` for one that ends before it begins."""
    if since >= until:
        raise ConfigError(f"--since {since} is not before --until {until}")
    return since.replace(tzinfo=UTC), until.replace(tzinfo=UTC)
