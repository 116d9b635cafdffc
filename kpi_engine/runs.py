"""Runs: what a station's ordinary records have in common is looked up once, and written down once. Pure.

Most results say: the same session, product, lot and minute as the one before, inspected, a number that was out. A *run*
takes them (`kpi_engine.taking`) and writes sums and ledger down when something else comes, or when the state is to be
read: by then it is the very state that `windows.fold_plainly` makes of the same records.
"""

from kpi_engine.arrivals import Arrivals, waits_plainly
from kpi_engine.boards import Board, put
from kpi_engine.slim import Result
from kpi_engine.state import KpiState
from kpi_engine.step import Lane, Step
from kpi_engine.sums import Sums, latency_bucket

__all__ = ["Picture", "Run", "settle", "settle_all", "start"]

Picture = tuple[int, int, Result]
"""Event time, number, and what was found."""


class Run(Arrivals):
    """A station's run: pictures of one lane in one minute.

    `begins`, `ends`, `begins_us`: the minute's bounds; `views` make a board.
    `boards`: pictures of boards that began in this run and are not complete, by visit. `latencies_us`,
    `opportunities`, and how many `failed` and are in `review`: of boards counted and not in `sums` yet; so are
    `first_passes` and the `passed` ones of them. `patience_us`: no board runs out of time before. `due`, `old`: what
    the step has of them for this minute.
    """

    __slots__ = (
        "begins",
        "begins_us",
        "boards",
        "due",
        "ends",
        "failed",
        "first_passes",
        "hold_us",
        "lane",
        "last",
        "latencies_us",
        "lot",
        "minute",
        "old",
        "opportunities",
        "passed",
        "patience_us",
        "product",
        "review",
        "session_name",
        "step",
        "sums",
        "views",
    )

    def __init__(self, step: Step, lane: Lane, result: Result, logged_us: int) -> None:
        super().__init__(lane.session, lane.share, logged_us)
        self.step = step
        self.lane = lane
        self.product, self.session_name, self.lot = result.product, result.session, result.lot
        self.minute = step.minute
        self.begins, self.ends, self.begins_us = step.begins, step.ends, step.begins_us
        self.views = lane.views
        self.sums: Sums = step.station.windows[lane.share][step.minute]
        self.last = 0
        self.boards: dict[int, list[Picture]] = {}
        self.latencies_us: list[int] = []
        self.opportunities = self.failed = self.review = self.first_passes = self.passed = 0
        self.patience_us = step.patience_us
        self.hold_us = step.rules.board_hold_us
        self.due = step.due.setdefault(self.minute, [])
        self.old = step.old_boards.setdefault(self.minute, [])
        if lane.views > 1:
            step.station.boards[lane.group] = lane.boards


def start(step: Step, result: Result) -> None:
    """Let a run begin with what comes after a result that was folded plainly, if all is ordinary."""
    station, minute = step.station, step.minute
    lane = step.lanes.get((result.session, result.product, result.lot))
    if (
        lane is not None
        and len(station.sessions) == 1
        and not station.rest
        and minute >= step.frozen_minute
        and (step.key, lane.share, minute) in step.state.changed
        and waits_plainly(lane.session)
        and lane.session.watermark_us == station.watermark_us
    ):
        step.run = Run(step, lane, result, step.told.logged_us)


def settle(run: Run) -> None:
    """End a run: write down what it took in."""
    step, sums = run.step, run.sums
    step.run = None
    run.write_down()
    step.station.watermark_us = run.bound_us
    if run.seqs:
        sums.frames += len(run.seqs)
        sums.revision = max(sums.revision, run.last)
        sums.closed = step.complete(run.minute)
        boards = len(run.latencies_us)
        sums.inspected += boards
        sums.passed += boards - run.failed - run.review
        sums.failed += run.failed
        sums.review += run.review
        sums.opportunities += run.opportunities
        sums.latency_sum_us += sum(run.latencies_us)
        for latency_us in run.latencies_us:
            bucket = latency_bucket(latency_us)
            sums.latency_buckets[bucket] = sums.latency_buckets.get(bucket, 0) + 1
        sums.first_pass += run.first_passes
        sums.first_pass_passed += run.passed
    for visit, pictures in run.boards.items():
        wait(run, visit, pictures)
    step.patience_us = run.patience_us


def wait(run: Run, visit: int, pictures: list[Picture]) -> None:
    """Let a board that is not complete wait for the rest of its pictures beyond this run."""
    step, lane = run.step, run.lane
    place = (lane.group, visit)
    board = Board(run.product, run.session_name, visit, lane.views)
    lane.boards[visit] = step.waiting[place] = step.fresh.boards[place] = board
    for event_us, _, result in pictures:
        put(board, result, event_us, lane.share)


def settle_all(state: KpiState) -> None:
    """End all runs: what they took in is needed."""
    for step in state.steps.values():
        if step.run is not None:
            settle(step.run)
