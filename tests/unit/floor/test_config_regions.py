"""Regions of a product are checked where they are written, not when the first board comes."""

import pytest

from taktwatch.config import parse_config
from taktwatch.errors import ConfigError


def product(**settings: object) -> dict[str, object]:
    return {"products": {"p": {"model": "m", "um_per_px": 20.0, **settings}}}


def test_regions_are_read_as_corners() -> None:
    config = parse_config(product(roi=[[0, 0], [10, 0], [10, 8]], ignore=[[[1, 1], [2, 1], [2, 2]]]), "x", {})
    assert config.products["p"].roi == ((0, 0), (10, 0), (10, 8))
    assert config.products["p"].ignore == (((1, 1), (2, 1), (2, 2)),)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"roi": [[0, 0], [10, 0]]}, "at least 3"),
        ({"roi": [[0, 0], [10, 0], [20, 0]]}, "enclose nothing"),
        ({"roi": [[-1, 0], [10, 0], [10, 10]]}, "greater than or equal to 0"),
        ({"ignore": [[[0, 0], [5, 5], [5, 5]]]}, "enclose nothing"),
        ({"roi": [[0, 0], [float("nan"), 0], [10, 10]]}, "finite number"),
    ],
)
def test_a_region_that_is_none_is_refused_with_its_setting(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        parse_config(product(**settings), "line.toml", {})
    assert f"products.p.{next(iter(settings))}" in str(refused.value)


def test_the_region_is_part_of_what_a_result_is_judged_by() -> None:
    plain, cut = (parse_config(product(**more), "x", {}) for more in ({}, {"roi": [[0, 0], [9, 0], [9, 9]]}))
    assert plain.product_sha256("p") != cut.product_sha256("p")
