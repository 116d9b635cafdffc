"""What the command line prints: tables for people."""

from collections import Counter
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from taktwatch.audit.compare import Comparison
from taktwatch.demo import Summary
from taktwatch.doctor import Check, State
from taktwatch.kpis import defect_rate, first_pass_yield
from taktwatch.ledger import StationLedger
from taktwatch.store.reading import totals

__all__ = ["print_checks", "print_comparison", "print_ledger", "print_summary"]


def print_summary(console: Console, summary: Summary) -> None:
    """Print the ledger, verdicts against truth, windows, alerts and pace of a demo run."""
    print_ledger(console, summary.stations)
    print_verdicts(console, summary)
    print_windows(console, summary)
    if summary.alerts:
        console.print("[bold]Open alerts[/bold]")
        for alert in summary.alerts:
            console.print(f"  {alert.severity.upper():8} {alert.state:10} {alert.summary}", soft_wrap=True)
    else:
        console.print("Open alerts: none")
    console.print(
        f"{summary.boards_per_second:.1f} boards/s from first to last verdict, {summary.seconds:.1f} s in all; "
        f"digest {summary.digest[:16]}",
        highlight=False,
    )


def print_ledger(console: Console, stations: Iterable[StationLedger]) -> None:
    """Print accepted = inspected + skipped + dead + pending + lost for each station."""
    table = Table(title="Ledger", title_justify="left")
    table.add_column("station")
    for name in ("accepted", "inspected", "skipped", "dead", "pending", "lost"):
        table.add_column(name, justify="right")
    table.add_column("balance")
    for row in stations:
        numbers = (row.accepted, row.inspected, row.skipped, row.dead, row.pending, row.lost)
        verdict = "[green]balances[/green]" if row.balanced else "[red]DOES NOT BALANCE[/red]"
        table.add_row(row.station, *(str(number) for number in numbers), verdict)
    console.print(table)


def print_verdicts(console: Console, summary: Summary) -> None:
    """Print verdicts, and what they were worth where the truth is known."""
    table = Table(title="Verdicts", title_justify="left")
    for name in ("station", "pass", "fail", "review", "caught", "escaped", "good passed", "false calls"):
        table.add_column(name, justify="left" if name == "station" else "right")
    for row in summary.stations:
        numbers = [row.passed, row.failed, row.review]
        truth = summary.truth.get(row.station)
        known = (
            ["?", "?", "?", "?"]
            if truth is None
            else [
                str(n) for n in (truth.defective_stopped, truth.defective_passed, truth.good_passed, truth.good_stopped)
            ]
        )
        table.add_row(row.station, *(str(number) for number in numbers), *known)
    console.print(table)
    if summary.truth:
        console.print("Caught, escaped: defective boards by the simulator's truth; review stops a board as fail does")
    else:
        console.print("The truth of these pictures is not known here; docs/accuracy.md says how accurate the model is")


def print_windows(console: Console, summary: Summary) -> None:
    """Print the one-minute windows summed by station, and how many there are."""
    states = Counter(str(window.state) for window in summary.windows)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    console.print(f"KPI windows of one minute: {len(summary.windows)} ({counted})")
    for rolled in totals(summary.windows):
        station, rate, fpy = rolled.window.station, defect_rate(rolled.window), first_pass_yield(rolled.window)
        if rate.value is not None and fpy.value is not None:
            console.print(
                f"  {station}: defect rate {rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}] (n = {rate.n}), "
                f"first-pass yield {fpy.value:.1%} (n = {fpy.n})",
                highlight=False,
                soft_wrap=True,
            )


def print_comparison(console: Console, comparison: Comparison, limit: int = 20) -> None:
    """Print what agrees and what differs between a record and its replay."""
    console.print(f"{comparison.agreeing} of {comparison.compared} frames agree (verdict, classes, counts)")
    for title, rows in (("Differences", comparison.differences), ("Close calls", comparison.close_calls)):
        if rows:
            table = Table("station", "seq", "frame", "recorded", "replayed", title=title, title_justify="left")
            for row in rows[:limit]:
                table.add_row(row.station, str(row.seq), row.frame_id[:12], row.recorded, row.replayed)
            console.print(table)
            if len(rows) > limit:
                console.print(f"... and {len(rows) - limit} more; --json lists all")
    if comparison.not_replayed:
        console.print(f"{len(comparison.not_replayed)} recorded frames are no longer in the log")
    agreeing = comparison.windows_compared - len(comparison.windows_differing)
    console.print(f"{agreeing} of {comparison.windows_compared} windows agree")
    for name in comparison.windows_differing[:limit]:
        console.print(f"  differs: {name}")
    for before, after in comparison.engines:
        console.print(f"Recorded on {before}, replayed on {after}: the last digits of scores may differ")
    for before, after in comparison.models:
        if before != after:
            console.print(f"Recorded with model {before[:12]}, replayed with {after[:12]}")
    console.print(
        "[green]The replay equals the record[/green]" if comparison.equal else "[red]The replay differs[/red]"
    )


COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red"}


def print_checks(console: Console, checks: Iterable[Check]) -> None:
    """Print one line a check: how it went, what was found, and what to do."""
    for check in checks:
        remedy = f" -> {check.remedy}" if check.remedy else ""
        console.print(f"{check.state:8}", style=COLOURS[check.state], end="")
        console.print(f"{check.name:14} {check.said}{remedy}", highlight=False, markup=False, soft_wrap=True)
