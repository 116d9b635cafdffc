"""Reviews over a real bus: said by HTTP, kept on their topic, shown as figures of their own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from console_line import RunningConsole, eventually, minute_window, running_console, this_minute

from dashboards.console.history import verdict_from
from dashboards.console.view import Board, Heard, board_verdict, empty_view, find_board, fold, to_check
from kpi_engine.sinks.reviews import GROUP, ReviewSink
from taktwatch.records import (
    BoardVerdict,
    InspectionResult,
    Outcome,
    Place,
    Review,
    Tile,
    Verdict,
    board_id,
    frame_id,
)
from taktwatch.reviews import EXAMPLES, draw_at
from taktwatch.topics import Topics, lag
from taktwatch.wire import decode

ALL = {"reviews": {"sample_rate": 1.0}}
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
PIECE = Tile(panel="P-7", index=0, of=2, box_px=(0, 0, 100, 60), size_px=(100, 100))


@asynccontextmanager
async def asked(folder: Path, **tables: object) -> AsyncIterator[tuple[RunningConsole, httpx.AsyncClient]]:
    async with (
        running_console(folder, **(tables or ALL)) as console,
        httpx.AsyncClient(base_url=console.url, timeout=30) as client,
    ):
        yield console, client


async def board(console: RunningConsole, client: httpx.AsyncClient, seq: int, verdict: Verdict) -> InspectionResult:
    """Send a board and wait until the console knows it."""
    result = await console.conveyor.board(seq, verdict=verdict)

    async def is_known() -> bool:
        return (await client.get(f"/v1/results/{result.frame_id}")).status_code == 200

    await eventually(is_known)
    return result


def said(result: InspectionResult, verdict: str, **more: Any) -> dict[str, Any]:
    return {"frame_id": result.frame_id, "verdict": verdict, "reviewer": "Kim", "reason": "seen under the lens", **more}


async def on_the_bus(console: RunningConsole) -> list[Review]:
    """Return what the reviews topic holds."""
    found = [
        decode(message.value, message.headers)
        async for batch in console.bus.read(Topics().reviews)
        for message in batch
    ]
    return [record for record in found if isinstance(record, Review)]


def test_a_review_is_kept_with_name_reason_and_both_verdicts(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            result = await board(console, client, 1, Verdict.FAIL)
            answer = await client.post("/v1/reviews", json=said(result, "pass", reviewer="  Kim  "))
            assert answer.status_code == 201
            [review] = await on_the_bus(console)
            assert (review.machine, review.human, review.reviewer) == (Verdict.FAIL, Verdict.PASS, "Kim")
            assert (review.frame_id, review.serial, review.event_at) == (result.frame_id, "B00001", result.event_at)
            assert (review.sampled, review.reason, review.model_id) == (False, "seen under the lens", "m" * 12)
            told = (await client.get("/v1/reviews", params={"frame_id": result.frame_id})).json()
            assert [one["human"] for one in told["reviews"]] == ["pass"]

    asyncio.run(main())


def test_reviews_give_figures_of_their_own_and_change_no_window(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            await console.store.write([minute_window(this_minute(), inspected=40, failed=3)])
            before = (await client.get("/v1/kpis")).json()["line"]
            fails = [await board(console, client, seq, Verdict.FAIL) for seq in range(3)]
            passes = [await board(console, client, seq, Verdict.PASS) for seq in range(3, 6)]
            unsure = await board(console, client, 6, Verdict.REVIEW)
            for result, verdict in [
                (fails[0], "pass"),
                (fails[1], "fail"),
                (fails[2], "fail"),
                (passes[0], "pass"),
                (passes[1], "fail"),
                (passes[1], "pass"),  # a second thought: the last word counts
                (unsure, "fail"),
            ]:
                assert (await client.post("/v1/reviews", json=said(result, verdict))).status_code == 201
            told = (await client.get("/v1/reviews")).json()
            figures = told["figures"]
            assert (figures["confirmed"], figures["overruled"], figures["settled"]) == (4, 1, 1)
            assert (figures["false_call_rate"]["value"], figures["false_call_rate"]["n"]) == (1 / 3, 3)
            assert (figures["escape_rate"]["value"], figures["escape_rate"]["n"]) == (0.0, 2)
            assert figures["escape_rate"]["high"] > 0.5
            assert len(told["reviews"]) == 7
            assert sum(step["figures"]["false_call_rate"]["n"] for step in told["steps"]) == 3
            assert (await client.get("/v1/kpis")).json()["line"] == before
            none = (await client.get("/v1/reviews", params={"station": "section"})).json()
            assert (none["reviews"], none["figures"]["false_call_rate"]["value"]) == ([], None)

    asyncio.run(main())


def test_the_series_from_the_store_answers_as_the_log_does_for_ranges_gone_by_too(tmp_path: Path) -> None:
    """A board spoken of twice counts in the hour of its last word, also where the range ends before that word."""
    hour, begun = timedelta(hours=1), this_minute() - timedelta(hours=6)
    words = [
        msgspec.structs.replace(
            EXAMPLES[number % 6], line="line-1", visit=number % 9, reviewed_at=begun + number * timedelta(minutes=17)
        )
        for number in range(20)
    ]

    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            topics = Topics()
            for word in words:
                await console.conveyor.put(topics.reviews, "line-1", word)
            stop = asyncio.Event()
            sink = asyncio.create_task(ReviewSink(console.config, console.bus, topics, console.store).run(stop))

            async def is_stored() -> bool:
                return await lag(console.bus, GROUP, topics.reviews) == 0

            await eventually(is_stored)
            sizes = []
            for since, until in [(begun, begun + 7 * hour), (begun + hour, begun + 3 * hour), (begun - hour, begun)]:
                for more in ({}, {"step_s": 300}, {"station": "top", "product": "demo-board"}, {"station": "section"}):
                    asking = {"since": since.isoformat(), "until": until.isoformat(), **more}
                    told = (await client.get("/v1/reviews", params=asking)).json()
                    del told["reviews"]
                    assert (await client.get("/v1/reviews/series", params=asking)).json() == told
                    sizes.append(told["figures"]["false_call_rate"]["n"] + told["figures"]["escape_rate"]["n"])
            whole, part = sizes[0], sizes[4]
            assert whole == 9  # boards
            assert 0 <= part < 5  # most words of that time were taken back since
            assert sizes[-1] == 0
            stop.set()
            await sink

    asyncio.run(main())


def test_drawn_boards_wait_until_they_are_reviewed(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            results = [await board(console, client, seq, Verdict.PASS) for seq in range(3)]
            await board(console, client, 3, Verdict.FAIL)
            sample = (await client.get("/v1/reviews/sample")).json()
            assert [one["frame_id"] for one in sample["boards"]] == [one.frame_id for one in reversed(results)]
            await client.post("/v1/reviews", json=said(results[1], "pass"))

            async def is_gone() -> bool:
                left = (await client.get("/v1/reviews/sample")).json()
                return [one["frame_id"] for one in left["boards"]] == [results[2].frame_id, results[0].frame_id]

            await eventually(is_gone)
            [review] = await on_the_bus(console)
            assert (review.sampled, review.weight) == (True, 1.0)
        async with asked(tmp_path) as (console, client):  # after a restart, too

            async def is_known() -> bool:
                return (await client.get("/v1/reviews/sample")).json()["waiting"] == 2

            await eventually(is_known)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reason": " "}, "say why"),
        ({"reviewer": " "}, "reviewer"),
        ({"verdict": "maybe"}, "verdict"),
        ({"sampled": True}, "sampled"),
        ({"frame_id": "4711"}, "frame_id"),
    ],
)
def test_a_review_that_says_too_little_or_too_much_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            result = await board(console, client, 0, Verdict.PASS)
            answer = await client.post("/v1/reviews", json=said(result, "fail") | change)
            assert answer.status_code == 422
            assert words in answer.json()["detail"]
            assert await on_the_bus(console) == []

    asyncio.run(main())


def test_what_nobody_inspected_cannot_be_reviewed(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (_, client):
            unheard = {"frame_id": "a" * 32, "verdict": "pass", "reviewer": "Kim"}
            assert (await client.post("/v1/reviews", json=unheard)).status_code == 404

    asyncio.run(main())


def test_other_sites_cannot_review_through_the_browser(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            result = await board(console, client, 0, Verdict.PASS)
            sent = said(result, "pass")
            foreign = await client.post("/v1/reviews", json=sent, headers={"Sec-Fetch-Site": "cross-site"})
            assert foreign.status_code == 403
            body = httpx.Request("POST", "http://x", json=sent).content
            plain = await client.post("/v1/reviews", content=body, headers={"Content-Type": "text/plain"})
            assert plain.status_code == 422
            assert await on_the_bus(console) == []

    asyncio.run(main())


def test_a_console_with_a_key_takes_reviews_with_it_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            running_console(tmp_path, environ={"TAKTWATCH_API_KEY": "secret"}) as console,
            httpx.AsyncClient(base_url=console.url, timeout=30) as client,
        ):
            known = httpx.AsyncClient(base_url=console.url, timeout=30, headers={"Authorization": "Bearer secret"})
            result = await board(console, known, 0, Verdict.FAIL)
            assert (await client.post("/v1/reviews", json=said(result, "pass"))).status_code == 401
            assert (await client.get("/v1/reviews")).status_code == 401
            assert (await known.post("/v1/reviews", json=said(result, "pass"))).status_code == 201
            await known.aclose()

    asyncio.run(main())


def heard(seq: int, verdict: Verdict | None, outcome: Outcome = Outcome.INSPECTED) -> Heard:
    result = InspectionResult(
        frame_id=frame_id("line-1", "top", "s", seq),
        line="line-1",
        station="top",
        product="demo",
        view="board",
        session="s",
        seq=seq,
        visit=seq,
        event_at=NOON + timedelta(seconds=seq),
        taken_at=NOON,
        received_at=NOON,
        inspected_at=NOON,
        outcome=outcome,
        sha256="a" * 64,
        um_per_px=20,
        verdict=verdict,
    )
    return Heard(record=result, place=Place(topic="t", partition=0, offset=seq), logged_at=NOON)


def test_the_sample_follows_the_frame_id_and_outlives_the_newest_boards() -> None:
    view = empty_view("line-1", {"top": "demo"}, 0.05)
    for seq in range(3000):
        view = fold(view, heard(seq, Verdict.FAIL if seq % 10 == 0 else Verdict.PASS))
    view = fold(view, heard(0, Verdict.PASS))
    due = [seq for seq in range(3000) if seq % 10 and draw_at(board_id("line-1", "top", "s", seq)) < 0.05]
    assert [one.result.seq for one in view.sample] == due[::-1][:200]
    oldest: Board = view.sample[-1]
    assert oldest not in view.stations["top"].boards
    assert find_board(view, oldest.result.frame_id) is oldest
    assert to_check(view) == list(view.sample)


def test_skipped_and_dead_frames_are_never_drawn() -> None:
    view = empty_view("line-1", {"top": "demo"}, 1.0)
    for seq, outcome in enumerate((Outcome.SKIPPED, Outcome.DEAD)):
        view = fold(view, heard(seq, None, outcome))
    assert view.sample == ()


def of_panel(seq: int, visit: int, verdict: Verdict) -> Heard:
    """Return a picture of a board that takes two."""
    one = heard(seq, verdict)
    assert isinstance(one.record, InspectionResult)
    return replace(one, record=msgspec.structs.replace(one.record, visit=visit))


def both(visit: int, verdict: Verdict, revision: int) -> Heard:
    """Return what the two pictures of a board say together."""
    said = BoardVerdict(
        board_id=board_id("line-1", "top", "s", visit),
        line="line-1",
        station="top",
        product="demo",
        session="s",
        visit=visit,
        event_at=NOON,
        decided_at=NOON,
        revision=revision,
        verdict=verdict,
        expected=2,
        inspected=2,
        frames=tuple(frame_id("line-1", "top", "s", seq) for seq in (2 * visit, 2 * visit + 1)),
    )
    return Heard(record=said, place=Place(topic="b", partition=0, offset=revision), logged_at=NOON)


@pytest.mark.parametrize("verdict_first", [False, True])
def test_a_board_of_two_pictures_is_drawn_once_and_by_its_own_verdict(*, verdict_first: bool) -> None:
    """The second board fails by its second picture alone: its first, which passed, is none to check."""
    pictures = [of_panel(seq, seq // 2, Verdict.FAIL if seq == 3 else Verdict.PASS) for seq in range(4)]
    verdicts = [both(0, Verdict.PASS, 10), both(1, Verdict.FAIL, 11)]
    view = empty_view("line-1", {"top": "demo"}, 1.0, {"demo": 2})
    for one in [*verdicts, *pictures] if verdict_first else [*pictures, *verdicts]:
        view = fold(view, one)
    [drawn] = to_check(view)
    assert drawn.result.visit == 0
    assert {board_verdict(view, one.result) for one in view.stations["top"].boards} == {Verdict.PASS, Verdict.FAIL}
    corrected = fold(view, both(0, Verdict.REVIEW, 12))
    assert to_check(corrected) == []
    assert fold(corrected, both(0, Verdict.PASS, 9)) is corrected


def test_a_review_of_any_picture_is_about_the_whole_board(tmp_path: Path) -> None:
    two = {"products": {"demo": {"model": "board-sim", "um_per_px": 20.0, "views": 2}}, **ALL}

    async def main() -> None:
        async with asked(tmp_path, **two) as (console, client):
            first = await board(console, client, 0, Verdict.PASS)
            waiting = await client.post("/v1/reviews", json=said(first, "pass"))
            assert (waiting.status_code, "not known yet" in waiting.text) == (422, True)
            assert (await client.get(f"/v1/results/{first.frame_id}")).json()["board_verdict"] is None
            verdict = msgspec.structs.replace(
                both(0, Verdict.FAIL, 1).record,
                board_id=board_id(first.line, "top", "s1", 0),
                session="s1",
                frames=(first.frame_id,),
            )
            await console.conveyor.put(Topics().boards, first.line, verdict)

            async def is_known() -> bool:
                return (await client.get(f"/v1/results/{first.frame_id}")).json()["board_verdict"] == "fail"

            await eventually(is_known)
            for _ in range(2):
                assert (await client.post("/v1/reviews", json=said(first, "pass"))).status_code == 201
            [review, _] = await on_the_bus(console)
            assert (review.machine, review.human, review.sampled) == (Verdict.FAIL, Verdict.PASS, False)
            asking = {"board_id": verdict.board_id}
            told = (await client.get("/v1/reviews", params=asking)).json()
            assert [one["board_id"] for one in told["reviews"]] == [verdict.board_id] * 2
            assert (told["figures"]["overruled"], told["figures"]["false_call_rate"]["n"]) == (1, 1)

    asyncio.run(main())


def test_an_older_board_of_several_pictures_is_judged_from_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, _):
            old = of_panel(0, 0, Verdict.PASS)
            assert isinstance(old.record, InspectionResult)
            piece = msgspec.structs.replace(old.record, tile=PIECE)
            for revision, verdict in enumerate((Verdict.REVIEW, Verdict.PASS)):
                await console.conveyor.put(Topics().boards, "line-1", both(0, verdict, revision).record)
            found = await verdict_from(
                console.bus,
                Topics().boards,
                board_id("line-1", "top", "s", 0),
                since=this_minute() - timedelta(hours=1),
                until=this_minute() + timedelta(hours=1),
            )
            assert found is not None
            assert (found.revision, found.verdict) == (1, Verdict.PASS)
            assert board_verdict(empty_view("line-1", {}), piece) is None

    asyncio.run(main())
