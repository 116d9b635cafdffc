"""What all commands share: the app, its options, where they print, and how they end."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from taktwatch import __version__
from taktwatch.config import LineConfig, load_config
from taktwatch.errors import TaktwatchError

__all__ = [
    "BusOption",
    "ConfigOption",
    "Exit",
    "JsonOption",
    "KpisOption",
    "PrefixOption",
    "app",
    "boards_progress",
    "configure_logging",
    "err",
    "main",
    "out",
    "read_config",
    "with_signals",
]

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

SHIPPED_CONFIG = Path(__file__).resolve().parents[2] / "line.toml"


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
