"""The page in a real browser, fed by records on a real bus."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from console_line import ConsoleThread, RunningConsole, minute_window, this_minute
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, expect
from servers.chromium import browser

from taktwatch.records import AlertState, KpiWindow, MarkState, Verdict

pytestmark = pytest.mark.chromium

DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@contextmanager
def opened(chromium: Browser, url: str, complaints: list[str], size: dict[str, int] | None = None) -> Iterator[Page]:
    """Open the page; what the browser complains of is collected."""
    context = chromium.new_context(viewport=size or DESK)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    try:
        yield page
    finally:
        context.close()


def tile(page: Page, station: str = "top") -> str:
    """Wait for a station's tile and return the selector of it."""
    selector = f'.tile[data-station="{station}"]'
    page.wait_for_selector(selector)
    return selector


def soon(page: Page, selector: str, text: str) -> None:
    """Wait until an element says something."""
    expect(page.locator(selector)).to_contain_text(text, timeout=PATIENCE_MS)


def test_live_numbers_change_when_records_arrive(chromium: Browser, tmp_path: Path) -> None:
    complaints: list[str] = []
    with ConsoleThread(tmp_path) as thread, opened(chromium, thread.console.url, complaints) as page:
        conveyor, top = thread.console.conveyor, tile(page)
        soon(page, f"{top} .board", "Waiting for the first board")
        soon(page, "#strip", "Waiting for the first board")
        soon(page, "#alerts", "No open alerts")
        thread.do(conveyor.board(0))
        thread.do(conveyor.mark(0))
        soon(page, f"{top} .verdict", "pass")
        soon(page, f"{top} .state", "Running")
        soon(page, f"{top} .board", "B00000")
        thread.do(conveyor.board(1, verdict=Verdict.FAIL))
        soon(page, f"{top} .verdict", "fail")
        expect(page.locator("#strip li")).to_have_count(2, timeout=PATIENCE_MS)
        minute = this_minute()
        thread.do(thread.console.store.write([minute_window(minute, inspected=40, failed=3)]))
        soon(page, f"{top} .tile-figures", "7.50")
        soon(page, "#figures", "n 40")
        soon(page, "#pareto", "short")
        expect(page.locator("#chart .dot")).to_have_count(1, timeout=PATIENCE_MS)
        newer = minute_window(minute, inspected=50, failed=3, revision=2)
        thread.do(thread.console.store.write([newer]))
        soon(page, f"{top} .tile-figures", "6.00")
        soon(page, "#connection", "Live")
    assert complaints == []


def test_scores_that_drift_are_said_at_their_station(chromium: Browser, tmp_path: Path) -> None:
    """`top` finds what it always found, less and less sure of it; `section` is as sure as it was the week before."""
    complaints: list[str] = []
    hour = this_minute().replace(minute=0)
    with ConsoleThread(tmp_path) as thread:
        for name, score_bp in (("top", 8300), ("section", 9500)):
            before = minute_window(hour - timedelta(days=2), station=name, inspected=400, failed=90)
            week = scored(replace(before, window="1h", end=before.start + timedelta(hours=1)), 9500)
            present = scored(minute_window(this_minute(), station=name, inspected=400, failed=90), score_bp)
            thread.do(thread.console.store.write([week, present]))
            thread.do(thread.console.conveyor.mark(0, station=name))
        with opened(chromium, thread.console.url, complaints) as page:
            soon(page, f"{tile(page)} .drift", "Scores sink \u22120.120")
            soon(page, f"{tile(page)} .drift", "against the week before \u00b7 n 90")
            soon(page, f"{tile(page, 'section')} .drift", "Score drift +0.000")
            assert page.locator(f'{tile(page)} .drift[data-tone="bad"]').count() == 1
            assert page.locator('.drift[data-tone="bad"]').count() == 1
    assert complaints == []


def scored(window: KpiWindow, score_bp: int) -> KpiWindow:
    """Give every defect of a window one of two scores that lie around `score_bp`."""
    n, apart_bp = window.failed, 100
    squares = n * (score_bp * score_bp + apart_bp * apart_bp)
    return replace(window, scored=n, score_sum_bp=n * score_bp, score_squares_bp2=squares)


def test_a_defect_is_outlined_on_its_picture(chromium: Browser, tmp_path: Path) -> None:
    complaints: list[str] = []
    with ConsoleThread(tmp_path) as thread, opened(chromium, thread.console.url, complaints) as page:
        result = thread.do(thread.console.conveyor.board(0, verdict=Verdict.FAIL))
        for where in (f"{tile(page)} .shot", "#strip .shot"):
            page.wait_for_selector(f"{where} path.outline.defect")
            page.wait_for_function("where => document.querySelector(`${where} img`).naturalWidth > 0", arg=where)
            picture = page.locator(f"{where} img").bounding_box()
            outline = page.locator(f"{where} path.outline.defect").bounding_box()
            assert picture is not None
            assert outline is not None
            assert outline["width"] > 1
            assert outline["height"] > 1
            # The picture is square and seen whole: its shorter side in the box is the scale.
            scale = min(picture["width"], picture["height"]) / 160
            x0, y0, x1, y1 = result.detections[0].box_px
            left = picture["x"] + (picture["width"] - 160 * scale) / 2
            above = picture["y"] + (picture["height"] - 160 * scale) / 2
            centre = outline["x"] + outline["width"] / 2, outline["y"] + outline["height"] / 2
            assert centre == pytest.approx((left + (x0 + x1) / 2 * scale, above + (y0 + y1) / 2 * scale), abs=2)
    assert complaints == []


def test_a_board_opens_with_its_evidence_and_its_defect_close_up(chromium: Browser, tmp_path: Path) -> None:
    complaints: list[str] = []
    with ConsoleThread(tmp_path) as thread, opened(chromium, thread.console.url, complaints) as page:
        thread.do(thread.console.conveyor.board(0))
        result = thread.do(thread.console.conveyor.board(1, verdict=Verdict.FAIL))
        page.click('#strip li[data-verdict="fail"] .card')
        soon(page, "#detail-title", "B00001")
        for told in (result.frame_id, "taktwatch.frames", "board-sim", "short: score 0.93", "model"):
            soon(page, "#detail", told)
        page.wait_for_selector("#detail path.outline.defect")
        before = page.locator("#detail path.outline.defect").bounding_box()
        page.click("#detail tr[data-index]")
        page.wait_for_function(
            """before => {
              const outline = document.querySelector("#detail path.outline.defect");
              return outline.getBoundingClientRect().width > 2 * before;
            }""",
            arg=before["width"] if before else 0,
        )
        page.click("#detail >> text=Outlines")
        expect(page.locator("#detail path.outline.defect")).to_be_hidden(timeout=PATIENCE_MS)
        page.keyboard.press("ArrowRight")
        soon(page, "#detail-title", "B00000")
        page.keyboard.press("Escape")
        expect(page.locator("#detail")).to_be_hidden(timeout=PATIENCE_MS)
        page.goto(f"{thread.console.url}/#frame={result.frame_id}")
        page.reload()
        soon(page, "#detail-title", "B00001")
    assert complaints == []


def test_an_alert_appears_is_said_aloud_and_goes(chromium: Browser, tmp_path: Path) -> None:
    complaints: list[str] = []
    with ConsoleThread(tmp_path) as thread, opened(chromium, thread.console.url, complaints) as page:
        soon(page, "#alerts", "No open alerts")
        thread.do(thread.console.conveyor.alert(AlertState.FIRING))
        soon(page, "#alerts .alert", "31.3 %")
        soon(page, "#alerts-count", "1")
        soon(page, "#announcer", "critical alert")
        page.wait_for_function("document.title.startsWith('(1)')")
        thread.do(thread.console.conveyor.alert(AlertState.RESOLVED))
        soon(page, "#alerts", "No open alerts")
        soon(page, "#alerts", "Resolved lately")
    assert complaints == []


def test_a_lost_camera_never_looks_healthy(chromium: Browser, tmp_path: Path) -> None:
    complaints: list[str] = []
    with ConsoleThread(tmp_path) as thread, opened(chromium, thread.console.url, complaints) as page:
        thread.do(thread.console.conveyor.board(0))
        thread.do(thread.console.conveyor.mark(0))
        top = tile(page)
        soon(page, f"{top} .state", "Running")
        thread.do(thread.console.conveyor.mark(0, state=MarkState.LOST))
        soon(page, f"{top} .state", "Camera lost")
        assert page.get_attribute(top, "data-state") == "lost"
        struck = page.eval_on_selector(
            f"{top} .verdict strong", "element => getComputedStyle(element).textDecorationLine"
        )
        assert struck == "line-through"
    assert complaints == []


def test_the_page_comes_back_by_itself_after_a_restart(chromium: Browser, tmp_path: Path) -> None:
    with ConsoleThread(tmp_path) as thread:
        url = thread.console.url
        context = chromium.new_context(viewport=DESK)
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        thread.do(thread.console.conveyor.board(0))
        top = tile(page)
        soon(page, f"{top} .board", "B00000")
    soon(page, "#connection", "Reconnecting")
    soon(page, "#notice", "The connection is lost")
    with ConsoleThread(tmp_path, port=int(url.rpartition(":")[2])) as again:
        soon(page, "#connection", "Live")
        expect(page.locator("#notice")).to_be_hidden(timeout=PATIENCE_MS)
        again.do(again.console.conveyor.board(1, verdict=Verdict.FAIL))
        soon(page, f"{top} .board", "B00001")
        soon(page, f"{top} .verdict", "fail")
        context.close()
    assert errors == []


def test_a_key_is_asked_for_once_and_then_the_line_is_shown(chromium: Browser, tmp_path: Path) -> None:
    with ConsoleThread(tmp_path, environ={"TAKTWATCH_API_KEY": "a long secret"}) as thread:
        context = chromium.new_context(viewport=DESK)
        page = context.new_page()
        page.goto(thread.console.url)
        page.fill("#login input[name=key]", "guess")
        page.click("#login button")
        soon(page, "#login-error", "not the key")
        page.fill("#login input[name=key]", "a long secret")
        page.click("#login button")
        expect(page.locator("#login")).to_be_hidden(timeout=PATIENCE_MS)
        soon(page, "#connection", "Live")
        tile(page)
        page.reload()
        soon(page, "#connection", "Live")
        context.close()


def test_a_verdict_is_overruled_by_name_and_reason_and_the_figures_follow(chromium: Browser, tmp_path: Path) -> None:
    complaints: list[str] = []
    with (
        ConsoleThread(tmp_path, reviews={"sample_rate": 1.0}) as thread,
        opened(chromium, thread.console.url, complaints) as page,
    ):
        thread.do(thread.console.conveyor.board(0))
        thread.do(thread.console.conveyor.board(1, verdict=Verdict.FAIL))
        soon(page, "#review-figures", "no fails reviewed")
        page.click('#strip li[data-verdict="fail"] .card')
        page.click("#detail >> text=Overrule")
        assert page.locator("#detail .review-list li").count() == 0  # the browser wants a name first
        page.fill("#detail input[name=reviewer]", "Kim Noor")
        page.click("#detail >> text=Overrule")
        soon(page, "#detail .review-form .error", "say why")
        complaints[:] = [said for said in complaints if "422" not in said]
        page.fill("#detail input[name=reason]", "only dust")
        page.click("#detail >> text=Overrule")
        soon(page, "#detail .review-list", "overruled: pass by Kim Noor")
        soon(page, "#detail .review-list", "only dust")
        page.keyboard.press("Escape")
        soon(page, "#review-figures", "n 1")
        soon(page, "#review-figures", "100.0")
        page.reload()
        soon(page, "#to-check-count", "1")
        page.click("#to-check .card")
        soon(page, "#detail-title", "B00000")
        assert page.input_value("#detail input[name=reviewer]") == "Kim Noor"
        page.click("#detail >> text=Confirm")
        soon(page, "#detail .review-list", "confirmed pass by Kim Noor")
        page.keyboard.press("Escape")
        soon(page, "#to-check", "All boards drawn for checking are reviewed")
        page.click('#strip li[data-verdict="fail"] .card')
        soon(page, "#detail .review-list", "only dust")
    assert complaints == []


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_is_cut_off_sideways(chromium: Browser, tmp_path: Path, size: dict[str, int]) -> None:
    complaints: list[str] = []
    with ConsoleThread(tmp_path) as thread, opened(chromium, thread.console.url, complaints, size) as page:
        fill(thread, thread.console)
        page.wait_for_selector("#strip .shot img")
        page.wait_for_selector("#chart .dot")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        page.click("#strip .card")
        page.wait_for_selector("#detail .evidence")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert complaints == []


def fill(thread: ConsoleThread, console: RunningConsole) -> None:
    """Give both stations boards, windows and an alert."""
    for seq in range(12):
        thread.do(console.conveyor.board(seq, verdict=Verdict.FAIL if seq % 3 else Verdict.PASS))
        thread.do(console.conveyor.board(seq, station="section"))
    windows = [minute_window(this_minute(), station=name, inspected=40, failed=3) for name in ("top", "section")]
    thread.do(console.store.write(windows))
    thread.do(console.conveyor.alert(AlertState.FIRING))
