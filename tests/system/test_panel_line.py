"""A folder of panels through ingest, detector and fold: one verdict a panel, each defect once, damage said."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from exact_engine import Differences, marked
from ingest_line import TOPICS, drive, line_config, opened_bus

from detector.inspect import Inspector
from detector.service import DetectorService
from kpi_engine.checks import readable
from kpi_engine.windows import Rules, drain, drain_verdicts, empty, fold
from taktwatch.config import ClassConfig, LineConfig
from taktwatch.pictures import encode_png
from taktwatch.records import BoardVerdict, KpiWindow, MarkState, StationMark, Verdict
from taktwatch.rows import png
from taktwatch.simulator import golden

TEMPLATE = golden(4, size=(700, 900))
CORNERS = [(300 * x + 5 * y, 170 * y + 20 * x) for x in range(3) for y in range(4)]
MARKS = [(x, y, x + 24, y + 60) for x, y in CORNERS]


def panel_line(folder: Path) -> LineConfig:
    (folder / "golden.png").write_bytes(encode_png(TEMPLATE))
    config = line_config(
        folder,
        {"source": {"kind": "folder", "path": str(folder / "in"), "panels": True}},
        max_picture_bytes=500_000,
        panel_overlap_px=64,
    )
    product = config.products["board"].model_copy(
        update={
            "model": "tiny",
            "template": folder / "golden.png",
            "min_registration": -1,
            "classes": {"open": ClassConfig(score=0.1)},
        }
    )
    return config.model_copy(update={"products": {"board": product}})


async def inspected(config: LineConfig) -> tuple[list[BoardVerdict], KpiWindow]:
    """Run detector and fold over what ingest wrote."""
    state, rules = empty(), Rules(verdicts=True)
    async with opened_bus(config) as bus:
        service = DetectorService(config, bus, TOPICS)
        service.duty.current = Inspector(config, engines={"tiny": Differences()})
        frames = [message async for batch in bus.read(TOPICS.frames) for message in batch]
        said = await service.inspect_messages(frames)
        await bus.publish(said)
        results = [message async for batch in bus.read(TOPICS.results) for message in batch]
    records = [readable(message) for message in results]
    # Marks were written while frames were still to be inspected: they hold their own until then.
    ordered = sorted(records, key=lambda record: isinstance(record, StationMark) and record.state is MarkState.CLOSED)
    for offset, record in enumerate(ordered):
        fold(state, record, offset, 0, rules)
    windows = [window for window in drain(state) if window.window == "1m"]
    verdicts = sorted(drain_verdicts(state), key=lambda verdict: verdict.visit)
    return verdicts, max(windows, key=lambda window: window.accepted)


def test_panels_become_boards_and_every_defect_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "BAND_BYTES", 100_000)  # so that half a panel is half its strips
    (tmp_path / "in").mkdir()
    good, bad = encode_png(TEMPLATE), encode_png(marked(TEMPLATE, MARKS))
    for name, body in {"a": good, "b": bad, "c": bad[: len(bad) * 3 // 4]}.items():
        (tmp_path / "in" / f"{name}.png").write_bytes(body)
    config = panel_line(tmp_path)
    service = asyncio.run(drive(config))
    accepted = service.progress["top"].accepted
    verdicts, window = asyncio.run(inspected(config))

    assert [one.verdict for one in verdicts] == [Verdict.PASS, Verdict.FAIL, Verdict.FAIL]
    passed, failed, broken = verdicts
    assert passed.expected == failed.expected == len(passed.frames) > 4
    assert window.accepted == accepted == 2 * passed.expected + len(broken.frames)
    found = sorted(defect.box_px for defect in failed.defects)
    assert len(found) == len(MARKS)
    for got, mark in zip(found, sorted(MARKS), strict=True):
        assert np.abs(np.subtract(got, mark)).max() <= 4
    assert window.defects["open"] == len(MARKS) + len(broken.defects)
    assert len(failed.reasons) == len(MARKS)
    assert window.dead == 1
    assert broken.reasons[-1].startswith(f"view missing: {len(broken.frames)} of {passed.expected} pieces are in")
