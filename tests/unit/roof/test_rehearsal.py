"""A simulated line knows its products before the first board, as a real one does."""

from datetime import UTC, datetime
from pathlib import Path

from detector.products.product import load_product
from ingest.cameras.simulator import shot_of
from ingest.intake import Intake
from taktwatch.config import LineConfig, SimulatorSource, parse_config
from taktwatch.rehearsal import recall, rehearse

NOW = datetime(2026, 3, 3, tzinfo=UTC)
SMALL = {"kind": "simulator", "height_px": 192, "width_px": 256}


def line() -> LineConfig:
    tables = {
        "stations": [
            {"name": "top", "product": "b", "source": SMALL},
            {"name": "side", "product": "s", "source": SMALL},
            {"name": "known", "product": "k", "source": SMALL},
        ],
        "products": {
            "b": {"model": "m", "um_per_px": 20.8},
            "s": {"model": "m", "view": "section", "um_per_px": 1.5},
            "k": {"model": "m", "um_per_px": 20.8, "template": "golden.png"},
        },
    }
    return parse_config(tables, "test", {})


def test_products_of_simulated_stations_are_built_of_good_boards_and_others_left_alone(tmp_path: Path) -> None:
    made = rehearse(line(), tmp_path, NOW)
    board, section = (load_product(tmp_path / "products" / name) for name in ("b", "s"))
    assert (board.card.width, len(board.card.sources)) == (256, 12)
    assert section.template is None
    assert made.product("b").template == tmp_path / "products" / "b" / "template.png"
    assert made.product("k") == line().product("k")
    assert recall(line().model_copy(update={"data_dir": tmp_path})) == made.model_copy(update={"data_dir": tmp_path})
    again = rehearse(line(), tmp_path / "again", NOW)
    assert again.product("b").card_sha256 == made.product("b").card_sha256


def test_a_conveyors_golden_picture_gives_way_to_the_products_template(tmp_path: Path) -> None:
    made = rehearse(line(), tmp_path, NOW)
    station = made.stations[0]
    assert isinstance(station.source, SimulatorSource)
    shot = shot_of(station.source, "board", 1)
    said = [
        Intake(config, station, "s", frozenset())
        .entry(shot, seq=0, visit=1, taken_at=NOW, received_at=NOW)
        .frame.template_sha256
        for config in (line(), made)
    ]
    assert said[0] != said[1]
    assert said[1] == load_product(tmp_path / "products" / "b").card.template_sha256
