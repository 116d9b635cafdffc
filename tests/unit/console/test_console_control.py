"""Control charts: the API over a real store, and the panel in a real browser."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from console_line import LINE, ConsoleThread, running_console, this_minute
from playwright.sync_api import Browser, expect
from servers.chromium import browser

from dashboards.console.control import charts_out
from taktwatch.capability import capability_of_points
from taktwatch.config import LineConfig, ProductConfig, SpcConfig
from taktwatch.records import ControlPoint

BEYOND = "1 point beyond the control limits"
PATIENCE_MS = 30_000


def point(index: int, value: float, **changes: Any) -> ControlPoint:
    """A subgroup every quarter of an hour, the 40th ending now."""
    start = this_minute() - timedelta(minutes=15 * (40 - index))
    full = ControlPoint(
        chart="laney_ewma",
        line=LINE,
        station="top",
        product="demo",
        metric="defect_rate",
        start=start,
        end=start + timedelta(minutes=15),
        amount=round(500 * value),
        n=500,
        value=value,
        centre=0.01,
        lower=0.006,
        upper=0.014,
        baseline_id="ab" * 32,
        revision=index,
    )
    return msgspec.structs.replace(full, **changes)


def learning(index: int, value: float = 0.01, **changes: Any) -> ControlPoint:
    none = {"chart": "run", "centre": None, "lower": None, "upper": None, "baseline_id": ""}
    return point(index, value, **none, collected=index + 1, wanted=25, **changes)


HISTORY = [
    *(learning(index, 0.008 + index % 5 * 0.001) for index in range(25)),
    *(point(index, 0.009 + index % 3 * 0.001) for index in range(25, 38)),
    point(38, 0.0155, signals=(BEYOND,)),
    point(39, 0.0132),
]
YOUNG = [learning(index, station="section") for index in range(12)]


def test_charts_come_with_their_limits_phases_and_signals(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_console(tmp_path) as console, httpx.AsyncClient(base_url=console.url) as client:
            await console.store.write_points([*HISTORY, *YOUNG])
            top, section = (await client.get("/v1/control-chart")).json()["charts"]
            assert (top["station"], top["chart"], top["limits"], len(top["points"])) == ("top", "laney_ewma", True, 40)
            assert [each["phase"] for each in top["points"]] == [1] * 25 + [2] * 15
            assert top["points"][38]["signals"] == [BEYOND]
            assert {key: top["points"][38][key] for key in ("value", "lower", "upper", "n")} == {
                "value": 0.0155,
                "lower": 0.006,
                "upper": 0.014,
                "n": 500,
            }
            assert (section["limits"], section["collected"], section["wanted"]) == (False, 12, 25)
            [few] = (await client.get("/v1/control-chart", params={"station": "top", "limit": 3})).json()["charts"]
            assert few["points"] == top["points"][-3:]
            [none] = (await client.get("/v1/control-chart", params={"station": "top", "minutes": 5})).json()["charts"]
            assert (none["points"], none["limits"], none["collected"]) == ([], False, 0)
            assert (await client.get("/v1/control-chart", params={"limit": 0})).status_code == 422

    asyncio.run(main())


def depths(index: int, panel: str, amount: int, squares: int, **changes: Any) -> ControlPoint:
    """A subgroup of four sections."""
    named = {"station": "edge", "product": "slab", "metric": "depth", "chart": "xbar_s", "panel": panel}
    sums = {"amount": amount, "n": 4, "squares": squares}
    return point(index, amount / 4 * 1e-4, **named | sums | changes)


SLAB = ProductConfig(view="section", model="section", um_per_px=1.5)
OF_DEPTH = LineConfig(line=LINE, products={"slab": SLAB}, spc=SpcConfig(metrics=("defect_rate", "depth"), sections=4))
MEASURED = [
    depths(0, "", 4000, 4_200_000, chart="run", centre=None, lower=None, upper=None),
    *(
        depths(index, panel, 4000 + 100 * index, 4_200_000 + 300_000 * index)
        for index in (1, 2, 3)
        for panel in ("mean", "deviation")
    ),
]


def test_measured_charts_stand_beside_the_others_with_their_capability() -> None:
    points = sorted([*HISTORY, *MEASURED], key=lambda each: (each.start, each.panel))  # as stores answer
    top, mean, deviation = charts_out(points, OF_DEPTH, station=None, product=None, limit=60)
    assert (top.metric, top.capability) == ("defect_rate", None)
    assert [(chart.metric, chart.chart, chart.panel) for chart in (mean, deviation)] == [
        ("depth", "xbar_s", "mean"),
        ("depth", "xbar_s", "deviation"),
    ]
    assert [each.phase for each in mean.points] == [1, 2, 2, 2]
    assert [each.phase for each in deviation.points] == [2, 2, 2]
    assert deviation.capability is None
    found = mean.capability
    assert found is not None
    wanted = capability_of_points(MEASURED, 0.3, single=False)
    assert wanted is not None
    assert (found.limit, found.n, found.cpk.value, found.ppk.low) == (0.3, 16, wanted.cpk.value, wanted.ppk.low)
    assert found.cpk.low < found.cpk.value < found.cpk.high


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.mark.chromium
@pytest.mark.parametrize("size", [{"width": 1440, "height": 1300}, {"width": 390, "height": 844}])
def test_a_person_sees_points_limits_and_signals_in_words(
    chromium: Browser, tmp_path: Path, size: dict[str, int]
) -> None:
    complaints: list[str] = []
    spc = {"metrics": ["defect_rate", "depth"], "sections": 4}
    products = {"demo": {"model": "board-sim", "um_per_px": 20.8}, "slab": SLAB.model_dump()}
    with ConsoleThread(tmp_path, spc=spc, products=products) as thread:
        context = chromium.new_context(viewport={"width": size["width"], "height": size["height"]})
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(thread.console.url)

        def soon(selector: str, words: str) -> None:
            expect(page.locator(selector)).to_contain_text(words, timeout=PATIENCE_MS)

        top, section = '.control-chart[data-station="top"]', '.control-chart[data-station="section"]'
        soon(top, "no limits yet: 0 of 25 subgroups")
        soon(top, "Waiting for the first subgroup")
        thread.do(thread.console.store.write_points([*HISTORY, *YOUNG, *MEASURED]))
        soon(section, "no limits yet: 12 of 25 subgroups")
        soon(f"{top} figcaption", "in control")
        soon(f"{top} .control-signals", BEYOND)
        soon(f"{top} .control-signals b", "1.55")
        expect(page.locator(f"{top} .control-point")).to_have_count(40)
        expect(page.locator(f"{top} .control-point.signal")).to_have_count(1)
        expect(page.locator(f"{top} circle.control-point.phase-1")).to_have_count(25)
        soon(f"{top} .control-phases", "phase II")
        edge = '.control-chart[data-station="edge"]'
        expect(page.locator(edge)).to_have_count(2)
        soon(f"{edge} >> nth=0", "Depth of corrosion")
        expect(page.locator(f"{edge} .control-capability")).to_have_count(1)
        soon(f"{edge} .control-capability", "Cpk ")
        soon(f"{edge} .control-capability", "at most 30.0 %, n 16")
        upper = page.locator(f"{top} .control-limit").nth(3).bounding_box()
        signal = page.locator(f"{top} .control-point.signal").bounding_box()
        assert upper is not None
        assert signal is not None
        assert signal["y"] + signal["height"] / 2 < upper["y"]  # drawn above the upper limit
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.locator(".control-panel").screenshot(path=str(tmp_path / "panel.png"))
        page.screenshot(path=str(tmp_path / "page.png"), full_page=True)
        context.close()
    assert complaints == []
