from pathlib import Path

import pytest

from taktwatch.kpis import METRICS
from taktwatch.records import KpiWindow

PAGE = (Path(__file__).parents[3] / "docs" / "kpis.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_figure_is_documented(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize(
    "name", ["accepted", "missing", "late_or_repeat", "first_pass", "defects", "surface_corrosion", "latency_buckets"]
)
def test_sums_the_page_explains_exist(name: str) -> None:
    assert name in PAGE
    assert name in KpiWindow.__struct_fields__
