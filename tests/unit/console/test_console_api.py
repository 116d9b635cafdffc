"""The API over a real bus and a real store."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import cv2
import httpx
import msgspec
import numpy as np
import pytest
from console_line import (
    SIDE_PX,
    Conveyor,
    RunningConsole,
    draw_board,
    eventually,
    line_config,
    minute_window,
    running_console,
    this_minute,
)

from dashboards.console import stream
from dashboards.console.service import ConsoleService
from dashboards.console.view import empty_view
from taktwatch.bus.connect import open_bus
from taktwatch.clock import now
from taktwatch.kpis import defect_rate, merge
from taktwatch.records import AlertState, InspectionResult, KpiWindow, Verdict
from taktwatch.store.connect import open_store
from taktwatch.topics import Topics


@asynccontextmanager
async def asked(folder: Path) -> AsyncIterator[tuple[RunningConsole, httpx.AsyncClient]]:
    async with running_console(folder) as console, httpx.AsyncClient(base_url=console.url, timeout=30) as client:
        yield console, client


async def shown(client: httpx.AsyncClient, result: InspectionResult) -> None:
    """Wait until the console shows a result."""

    async def is_shown() -> bool:
        return (await client.get(f"/v1/results/{result.frame_id}")).status_code == 200

    await eventually(is_shown)


def test_a_fresh_line_waits_for_its_first_board(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (_, client):
            stations = (await client.get("/v1/stations")).json()["stations"]
            assert [(one["station"], one["state"], one["last"]) for one in stations] == [
                ("top", "expected", None),
                ("section", "expected", None),
            ]
            assert (await client.get("/v1/results")).json() == {"results": []}
            kpis = (await client.get("/v1/kpis")).json()
            assert (kpis["rows"], kpis["stations"], kpis["line"]) == ([], [], None)
            assert (await client.get("/v1/alerts")).json() == {"open": [], "history": []}

    asyncio.run(main())


def test_a_console_started_later_shows_what_went_before(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_console(tmp_path) as first:
            results = [await first.conveyor.board(seq) for seq in range(3)]
            await first.conveyor.mark(2)
            await first.conveyor.alert(AlertState.FIRING)
        async with asked(tmp_path) as (_, client):
            await shown(client, results[2])
            listed = (await client.get("/v1/results")).json()["results"]
            assert [one["frame_id"] for one in listed] == [one.frame_id for one in reversed(results)]
            [top, _] = (await client.get("/v1/stations")).json()["stations"]
            assert (top["state"], top["last"]["seq"], top["waiting"]) == ("running", 2, 0)
            [alert] = (await client.get("/v1/alerts")).json()["open"]
            assert (alert["rule"], alert["state"], alert["n"]) == ("defect-rate", "firing", 32)

    asyncio.run(main())


def test_results_are_chosen_by_station_and_verdict(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            await console.conveyor.board(0)
            failed = await console.conveyor.board(1, verdict=Verdict.FAIL)
            last = await console.conveyor.board(0, station="section")
            await shown(client, last)
            by_verdict = (await client.get("/v1/results", params={"verdict": "fail"})).json()["results"]
            assert [one["frame_id"] for one in by_verdict] == [failed.frame_id]
            assert [found["class"] for found in by_verdict[0]["detections"]] == ["short"]
            by_station = (await client.get("/v1/results", params={"station": "section"})).json()["results"]
            assert [one["frame_id"] for one in by_station] == [last.frame_id]
            assert len((await client.get("/v1/results", params={"limit": 2})).json()["results"]) == 2

    asyncio.run(main())


def test_a_result_is_told_with_all_its_evidence(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            result = await console.conveyor.board(4, verdict=Verdict.FAIL)
            await shown(client, result)
            told = (await client.get(f"/v1/results/{result.frame_id}")).json()
            assert told["verdict"] == "fail"
            assert told["model"]["weights_sha256"] == "a" * 64
            assert told["frame_place"] == msgspec.to_builtins(result.place)
            assert told["result_place"]["topic"] == "taktwatch.results"
            assert told["detections"][0]["mask"] == json.loads(msgspec.json.encode(result.detections[0].mask))
            assert told["timings_us"] == result.timings_us
            assert told["latency_ms"] == pytest.approx(180)

    asyncio.run(main())


def test_a_picture_is_served_as_captured_and_named_by_its_hash(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            result = await console.conveyor.board(1, verdict=Verdict.FAIL)
            await shown(client, result)
            path = f"/v1/frames/{result.frame_id}/picture"
            answer = await client.get(path)
            assert answer.content == draw_board(1, defect=True)[0]
            assert answer.headers["content-type"] == "image/png"
            assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
            again = await client.get(path, headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")

    asyncio.run(main())


def test_a_picture_that_is_not_what_was_inspected_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            result = await console.conveyor.board(1)
            forged = msgspec.structs.replace(result, station="section", sha256="0" * 64, frame_id="f" * 32)
            await console.conveyor.put(console.service.live.topics.results, "line-1", forged)
            await shown(client, forged)
            answer = await client.get(f"/v1/frames/{forged.frame_id}/picture")
            assert answer.status_code == 422
            assert forged.frame_id in answer.json()["detail"]

    asyncio.run(main())


def test_a_thumbnail_is_small_and_never_larger_than_the_picture(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            result = await console.conveyor.board(1)
            await shown(client, result)
            for wanted, width in ((64, 64), (2000, SIDE_PX)):
                answer = await client.get(f"/v1/frames/{result.frame_id}/thumbnail.jpg", params={"w": wanted})
                assert answer.headers["content-type"] == "image/jpeg"
                picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
                assert picture.shape == (width, width, 3)

    asyncio.run(main())


def test_outlines_lie_on_the_defect(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            result = await console.conveyor.board(1, verdict=Verdict.FAIL)
            await shown(client, result)
            drawn = (await client.get(f"/v1/frames/{result.frame_id}/outlines")).json()
            assert (drawn["width"], drawn["height"]) == (SIDE_PX, SIDE_PX)
            [one] = drawn["outlines"]
            assert (one["class"], one["structure"]) == ("short", False)
            xs, ys = zip(*one["polygons"][0], strict=True)
            assert (min(xs), min(ys), max(xs), max(ys)) == pytest.approx(result.detections[0].box_px, abs=0.2)
            overlay = await client.get(f"/v1/frames/{result.frame_id}/overlay.svg")
            assert overlay.headers["content-type"] == "image/svg+xml"
            assert one["path"] in overlay.text

    asyncio.run(main())


def test_an_unknown_frame_is_named_in_the_refusal(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (_, client):
            for path in ("results/{}", "frames/{}/picture", "frames/{}/thumbnail.jpg", "frames/{}/outlines"):
                answer = await client.get("/v1/" + path.format("ab" * 16))
                assert answer.status_code == 404
                assert answer.json()["error"] == "not_found"
                assert "ab" * 16 in answer.json()["detail"]
            misspelt = await client.get("/v1/results/board-4711")
            assert misspelt.status_code == 422
            assert "board-4711" in misspelt.json()["detail"]

    asyncio.run(main())


def test_a_board_the_view_has_forgotten_is_found_in_the_log_by_its_time(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            began = now() - timedelta(seconds=5)
            old = await console.conveyor.board(0, verdict=Verdict.FAIL)
            await shown(client, old)
            console.service.live.view = empty_view("line-1", {"top": "demo"})
            assert (await client.get(f"/v1/results/{old.frame_id}")).status_code == 404
            found = await client.get(f"/v1/results/{old.frame_id}", params={"logged_after": began.isoformat()})
            assert found.json()["frame_id"] == old.frame_id
            listed = await client.get("/v1/results", params={"since": began.isoformat(), "verdict": "fail"})
            assert [one["frame_id"] for one in listed.json()["results"]] == [old.frame_id]

    asyncio.run(main())


def test_kpis_are_those_of_the_store(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            start = this_minute()
            windows = [
                minute_window(start - timedelta(minutes=m), station=station, inspected=30, failed=m % 4)
                for m in range(20)
                for station in ("top", "section")
            ]
            await console.store.write(windows)
            kpis = (await client.get("/v1/kpis", params={"minutes": 30, "step_s": 60})).json()
            assert len(kpis["rows"]) == len(windows)
            whole = merge(windows)
            assert whole is not None
            expected = defect_rate(whole)
            told = kpis["line"]["figures"]["defect_rate"]
            assert (told["value"], told["n"], told["low"], told["high"]) == (
                expected.value,
                1200,
                expected.low,
                expected.high,
            )
            assert kpis["line"]["defects"] == {"short": whole.failed}
            assert [(row["class"], row["count"], row["cumulative"]) for row in kpis["pareto"]] == [
                ("short", whole.failed, 1.0)
            ]
            assert [row["station"] for row in kpis["stations"]] == ["section", "top"]
            [rolled] = kpis["rolled_throughput_yield"]
            assert (rolled["product"], rolled["stations"]) == ("demo", ["section", "top"])
            yields = [row["figures"]["first_pass_yield"]["value"] for row in kpis["stations"]]
            assert rolled["figure"]["value"] == pytest.approx(yields[0] * yields[1])
            coarse = (await client.get("/v1/kpis", params={"minutes": 30, "step_s": 600, "station": "top"})).json()
            assert sum(row["failed"] for row in coarse["rows"]) == sum(w.failed for w in windows if w.station == "top")
            assert len(coarse["rows"]) <= 4

    asyncio.run(main())


def test_score_drift_compares_with_the_time_before_the_range(tmp_path: Path) -> None:
    """Hours before the range are the reference; a station that had none then has no drift, and says so."""

    def scores(window: KpiWindow, scored: int, bp: int) -> KpiWindow:
        sums = {"scored": scored, "score_sum_bp": scored * bp, "score_squares_bp2": scored * bp * bp}
        return msgspec.structs.replace(window, **sums)

    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            hour = this_minute().replace(minute=0)
            new = minute_window(hour + timedelta(minutes=5), station="section", inspected=9, failed=1)
            minutes = [minute_window(hour + timedelta(minutes=m), inspected=30, failed=3) for m in range(20)]
            before = minute_window(hour - timedelta(hours=2), inspected=90, failed=9)
            hourly = {"window": "1h", "end": hour - timedelta(hours=1)}
            reference = msgspec.structs.replace(scores(before, 9, 9500), **hourly)
            long_ago = msgspec.structs.replace(
                scores(before, 99, 5000), **hourly, start=hour - timedelta(days=8), revision=0
            )
            whole = msgspec.structs.replace(scores(before, 10**6, 100), **hourly, station="*", product="*")
            told = [reference, long_ago, whole, scores(new, 2, 8000), *(scores(each, 3, 9000) for each in minutes)]
            await console.store.write(told)
            asking = {"since": hour.isoformat(), "until": (hour + timedelta(hours=1)).isoformat(), "step_s": 600}
            found = (await client.get("/v1/kpis/drift", params=asking)).json()
            section, top = found["series"]
            assert (section["station"], top["station"], top["product"]) == ("section", "top", "demo")
            assert top["reference"]["value"] == 0.95
            assert [round(point["figure"]["value"], 9) for point in top["points"]] == [-0.05, -0.05]
            assert [point["figure"]["n"] for point in top["points"]] == [30, 30]
            assert (section["reference"]["value"], section["points"][0]["figure"]["value"]) == (None, None)
            longer = (await client.get("/v1/kpis/drift", params={**asking, "reference_hours": 24 * 9})).json()
            assert longer["series"][1]["reference"]["n"] == 108

    asyncio.run(main())


def test_lots_have_one_row_each(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            hour = this_minute().replace(minute=0) - timedelta(days=3)
            hours = [minute_window(hour + timedelta(hours=h), inspected=30, failed=h) for h in range(4)]
            windows = [
                msgspec.structs.replace(
                    one, window="lot", lot="L1" if index < 3 else "L2", end=one.start + timedelta(hours=1)
                )
                for index, one in enumerate(hours)
            ]
            await console.store.write([*windows, msgspec.structs.replace(windows[0], station="*", product="*")])
            rows = (await client.get("/v1/kpis/lots")).json()["rows"]
            assert [(row["lot"], row["windows"], row["inspected"], row["failed"]) for row in rows] == [
                ("L1", 3, 90, 3),
                ("L2", 1, 30, 3),
            ]
            assert rows[0]["figures"]["defect_rate"]["value"] == 3 / 90
            [one] = (await client.get("/v1/kpis/lots", params={"lot": "L2"})).json()["rows"]
            assert one == rows[1]
            assert (await client.get("/v1/kpis/lots", params={"minutes": 60})).json()["rows"] == []

    asyncio.run(main())


def test_pareto_and_trend_are_the_same_numbers_as_the_table(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            start = this_minute()
            windows = [minute_window(start - timedelta(minutes=m), inspected=30, failed=m % 4) for m in range(20)]
            roll_up = msgspec.structs.replace(windows[0], station="*", product="*", inspected=10**6)
            await console.store.write([*windows, roll_up])
            asking = {"minutes": 30, "step_s": 600}
            kpis = (await client.get("/v1/kpis", params=asking)).json()
            pareto = (await client.get("/v1/kpis/pareto", params=asking)).json()
            assert pareto["classes"] == kpis["pareto"]
            for name in ("defect_rate", "latency_p95_s", "throughput_per_hour"):
                trend = (await client.get("/v1/kpis/trend", params={**asking, "metric": name})).json()
                assert [(point["step"], point["figure"]) for point in trend["points"]] == [
                    (row["step"], row["figures"][name]) for row in kpis["rows"]
                ]
            assert sum(point["figure"]["n"] for point in trend["points"]) == 600
            refused = await client.get("/v1/kpis/trend", params={"metric": "happiness"})
            assert refused.status_code == 422
            assert "defect_rate" in refused.json()["detail"]

    asyncio.run(main())


def test_a_range_that_makes_no_sense_is_refused_in_words(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (_, client):
            for params in (
                {"since": "2026-03-03T12:00:00Z", "until": "2026-03-03T11:00:00Z"},
                {"since": "2026-03-03T12:00:00"},
                {"since": "2020-03-03T12:00:00Z", "until": "2026-03-03T11:00:00Z"},
                {"minutes": 0},
                {"since": "yesterday"},
            ):
                answer = await client.get("/v1/kpis", params=params)
                assert answer.status_code == 422, params
                assert answer.json()["error"] == "bad_request"
                assert len(answer.json()["detail"]) > 10

    asyncio.run(main())


async def events(lines: AsyncIterator[str], wanted: str) -> AsyncIterator[tuple[str, dict[str, object]]]:
    """Yield id and data of the events of one name."""
    last_id = name = ""
    async for line in lines:
        field, _, value = line.partition(": ")
        if field == "id":
            last_id = value
        elif field == "event":
            name = value
        elif field == "data" and name == wanted:
            yield last_id, json.loads(value)


def test_the_stream_begins_with_a_snapshot_and_tells_every_board(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            before = await console.conveyor.board(0)
            await shown(client, before)
            async with client.stream("GET", "/v1/stream") as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                lines = answer.aiter_lines()
                _, snapshot = await anext(events(lines, "snapshot"))
                assert [one["frame_id"] for one in snapshot["boards"]] == [before.frame_id]
                sent = [await console.conveyor.board(seq) for seq in (1, 2)]
                told = events(lines, "result")
                assert [(await anext(told))[1]["frame_id"] for _ in sent] == [one.frame_id for one in sent]
                await console.conveyor.mark(2)
                _, mark = await anext(events(lines, "mark"))
                assert mark["station"] == "top"
                await console.conveyor.alert(AlertState.FIRING)
                _, alerts = await anext(events(lines, "alert"))
                assert [one["rule"] for one in alerts["open"]] == ["defect-rate"]
                await console.store.write([minute_window(this_minute(), inspected=30, failed=2)])
                _, kpi = await anext(events(lines, "kpi"))
                assert kpi["windows"] == 1

    asyncio.run(main())


def test_a_client_that_comes_back_gets_exactly_what_it_missed(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            async with client.stream("GET", "/v1/stream") as answer:
                lines = answer.aiter_lines()
                await anext(events(lines, "snapshot"))
                await console.conveyor.board(0)
                last_id, _ = await anext(events(lines, "result"))
            missed = [await console.conveyor.board(seq) for seq in (1, 2)]
            await shown(client, missed[1])
            async with client.stream("GET", "/v1/stream", headers={"Last-Event-ID": last_id}) as answer:
                told = events(answer.aiter_lines(), "result")
                assert [(await anext(told))[1]["frame_id"] for _ in missed] == [one.frame_id for one in missed]

    asyncio.run(main())


def test_a_quiet_stream_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)

    async def main() -> None:
        async with asked(tmp_path) as (_, client), client.stream("GET", "/v1/stream") as answer:
            async for line in answer.aiter_lines():
                if line == ": heartbeat":
                    return

    asyncio.run(main())


def test_stopping_ends_open_streams(tmp_path: Path) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(timeout=30) as client:
            async with running_console(tmp_path) as console:
                request = client.build_request("GET", f"{console.url}/v1/stream")
                answer = await client.send(request, stream=True)
                lines = answer.aiter_lines()
                await anext(events(lines, "snapshot"))
            assert [line async for line in lines][-1:] == [""]
            await answer.aclose()

    asyncio.run(main())


def test_health_readiness_metrics_and_description(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (_, client):
            assert (await client.get("/healthz")).text == "ok\n"
            assert (await client.get("/readyz")).json() == {"ready": True, "parts": {"bus": "ok", "store": "ok"}}
            assert "taktwatch_console_clients" in (await client.get("/metrics")).text
            paths = (await client.get("/v1/openapi.json")).json()["paths"]
            assert {"/v1/stations", "/v1/results/{frame_id}", "/v1/kpis", "/v1/stream"} <= set(paths)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/static/app.js", "javascript"),
        ("/static/style.css", "text/css"),
        ("/static/favicon.svg", "image/svg+xml"),
        ("/favicon.ico", "image/svg+xml"),
    ],
)
def test_the_page_is_served_with_its_types(tmp_path: Path, path: str, kind: str) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (_, client):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert kind in answer.headers["content-type"]
            assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
            assert "https://" not in answer.text

    asyncio.run(main())


def test_a_console_that_comes_before_the_line_waits_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        config = line_config()
        bus = open_bus(f"sqlite:///{tmp_path}/bus", config.kafka, client="test")
        store = open_store(f"sqlite:///{tmp_path}/kpis.sqlite", {})
        service, stop = ConsoleService(config, bus, Topics(), store, environ={}), asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        await service.listening.wait()
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            unready = await client.get("/readyz")
            assert unready.status_code == 503
            assert "taktwatch.results" in unready.json()["parts"]["bus"]
            assert (await client.get("/v1/line")).json()["bus"] == "away"
            await bus.ensure(Topics().specs(None))
            await store.prepare()
            result = await Conveyor(bus, Topics()).board(0)
            await shown(client, result)
            while (await client.get("/v1/line")).json()["bus"] != "hearing":  # noqa: ASYNC110 - until the last topic is heard
                await asyncio.sleep(0.05)
            assert (await client.get("/readyz")).status_code == 200
        stop.set()
        await running
        await store.close()
        await bus.close()

    asyncio.run(main())


def test_a_young_line_is_shown_in_fine_steps_and_a_long_one_in_coarse(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (console, client):
            start = this_minute()
            await console.store.write(
                [minute_window(start - timedelta(minutes=m), inspected=9, failed=0) for m in range(9)]
            )
            assert (await client.get("/v1/kpis")).json()["step_s"] == 60
            await console.store.write([minute_window(start - timedelta(minutes=50), inspected=9, failed=0)])
            assert (await client.get("/v1/kpis")).json()["step_s"] == 300

    asyncio.run(main())
