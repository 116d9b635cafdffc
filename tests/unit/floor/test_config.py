"""line.toml and the environment: what is accepted, and how a mistake is named."""

from pathlib import Path

import pytest

from taktwatch.config import load_config
from taktwatch.errors import ConfigError, UnknownProduct

SHIPPED = Path(__file__).parents[3] / "line.toml"

MINIMAL = """
[[stations]]
name = "top"
product = "p"
source = { kind = "simulator" }
[products.p]
model = "m"
um_per_px = 20.0
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "line.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_line_file_is_valid() -> None:
    config = load_config(SHIPPED, {})
    assert [station.name for station in config.stations] == ["top", "section"]
    assert config.products["deeppcb"].um_per_px == 20.8
    assert config.products["deeppcb"].box_margin_um == 208


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, MINIMAL), {})
    assert config.data_dir == tmp_path / "var"
    assert config.bus_url == f"sqlite:///{tmp_path}/var/bus"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    environ = {"TAKTWATCH_BUS": "kafka://broker:9092", "TAKTWATCH_CONSOLE__PORT": "9000", "HOME": "/root"}
    config = load_config(written(tmp_path, MINIMAL), environ)
    assert config.bus_url == "kafka://broker:9092"
    assert config.console.port == 9000


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("line = [", "not valid TOML"),
        (MINIMAL + "colour = 1", "colour"),
        (MINIMAL.replace('product = "p"', 'product = "q"'), "'q'"),
        (MINIMAL.replace("20.0", "-1"), "um_per_px"),
        (MINIMAL.replace('"simulator"', '"telepathy"'), "telepathy"),
        ('bus = "rabbit://x"', "bus"),
        (MINIMAL + MINIMAL.split("[products", maxsplit=1)[0], "twice"),
        ('[[alerts.rules]]\nname="x"\nabove=0.1\nrecover_below=0.2', "recover_below"),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, text: str, names: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text), {})
    message = str(caught.value)
    assert names in message
    assert "line.toml" in message
    assert "\n" not in message


def test_a_missing_file_says_how_to_give_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config"):
        load_config(tmp_path / "none.toml", {})


def test_an_unknown_variable_of_ours_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="colour"):
        load_config(written(tmp_path, MINIMAL), {"TAKTWATCH_COLOUR": "red"})


def test_a_variable_that_reaches_into_a_plain_value_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TAKTWATCH_LINE__NAME"):
        load_config(written(tmp_path, 'line = "a"'), {"TAKTWATCH_LINE__NAME": "x"})


def test_an_unknown_product_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownProduct, match="describes: p"):
        load_config(written(tmp_path, MINIMAL), {}).product("q")


def test_changing_a_threshold_changes_the_product_hash(tmp_path: Path) -> None:
    before = load_config(written(tmp_path, MINIMAL), {}).product_sha256("p")
    after = load_config(written(tmp_path, MINIMAL + "review_below = 0.4"), {}).product_sha256("p")
    assert before != after
