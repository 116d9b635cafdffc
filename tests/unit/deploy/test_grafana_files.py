"""What Grafana would refuse at its start, skip in silence, or show as "No data": found here instead."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from taktwatch.records import KpiWindow, ReviewWindow
from taktwatch.store.influx_points import DERIVED
from taktwatch.store.influx_spc import SPC_FIELDS

ROOT = Path(__file__).parents[3]
GRAFANA = ROOT / "dashboards" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
PANEL_TYPES = {"stat", "timeseries", "barchart", "table"}
UNITS = {"none", "short", "percentunit", "s", "bytes", "reqps"}
FIELDS = set(KpiWindow.__struct_fields__) | set(ReviewWindow.__struct_fields__) | set(DERIVED) | SPC_FIELDS | {"count"}
MADE = {"key", "figure", "share", "worth", "z", "spread", "low", "high"}
"""Columns that queries make."""

COLUMNS = {
    "metric",
    "_measurement",
    "_field",
    "_value",
    "_time",
    "window",
    "line",
    "station",
    "product",
    "class",
    "chart",
    "panel",
}


def load(path: Path) -> dict[str, Any]:
    board: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return board


def sources() -> dict[str, dict[str, Any]]:
    file = yaml.safe_load((GRAFANA / "provisioning/datasources/taktwatch.yml").read_text(encoding="utf-8"))
    return {source["uid"]: source for source in file["datasources"]}


BOARDS = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@BOARDS
def test_a_dashboard_is_plain_json_with_title_and_a_short_uid(path: Path) -> None:
    board = load(path)
    assert "dashboard" not in board
    assert board["title"].strip()
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", board["uid"])
    assert board["schemaVersion"] == 39
    assert "id" not in board


def test_uids_and_titles_are_given_once() -> None:
    boards = [load(path) for path in FILES]
    assert len(FILES) == 2
    assert len({board["uid"] for board in boards}) == len(boards)
    assert len({board["title"] for board in boards}) == len(boards)


@BOARDS
def test_no_placeholder_of_an_import_is_left(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "${DS_" not in text
    assert "__inputs" not in text


@BOARDS
def test_each_panel_and_target_names_a_provisioned_source(path: Path) -> None:
    known = {uid: source["type"] for uid, source in sources().items()}
    for panel in load(path)["panels"]:
        for named in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert known[named["uid"]] == named["type"], panel["title"]


@BOARDS
def test_panels_are_of_known_types_and_units_and_do_not_overlap(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    panels = load(path)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] in PANEL_TYPES, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def flux_queries() -> list[str]:
    board = load(GRAFANA / "dashboards" / "taktwatch-line.json")
    return [target["query"] for panel in board["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("flux", flux_queries())
def test_flux_names_only_fields_that_the_store_writes(flux: str) -> None:
    """A misspelt field answers 200 and "No data"."""
    assert set(re.findall(r'_field == "(\w+)"', flux)) <= FIELDS
    made = set(re.findall(r'value: "(\w+)"', flux)) | MADE
    made |= set(re.findall(r"\b(now|before): float", flux))
    assert set(re.findall(r"\br\.(\w+)", flux)) <= COLUMNS | FIELDS | made
    assert set(re.findall(r"\bv\.(\w+)", flux)) <= {"defaultBucket", "timeRangeStart", "timeRangeStop", "windowPeriod"}


@BOARDS
def test_every_variable_in_a_query_is_one_of_the_dashboard(path: Path) -> None:
    board = load(path)
    known = {variable["name"] for variable in board["templating"]["list"]}
    for panel in board["panels"]:
        for target in panel["targets"]:
            assert set(re.findall(r"\$\{(\w+)[:}]", target.get("query", "") + target.get("expr", ""))) <= known


def test_health_panels_ask_for_metrics_that_the_services_have() -> None:
    for room in ("ingest", "detector", "kpi_engine", "alerts"):
        importlib.import_module(f"{room}.metrics")
    exported = {
        name + suffix
        for family in REGISTRY.collect()
        for name in (family.name,)
        for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
    }
    board = load(GRAFANA / "dashboards" / "taktwatch-health.json")
    wanted = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\btaktwatch_\w+", target["expr"])
    }
    assert wanted
    assert wanted - exported == set()


def test_one_source_is_the_default_and_secrets_come_from_the_environment() -> None:
    found = sources()
    assert [source["isDefault"] for source in found.values()].count(True) == 1
    influx = found["taktwatch-influxdb"]
    assert influx["jsonData"] == {
        "version": "Flux",
        "organization": "$INFLUX_ORG",
        "defaultBucket": "$INFLUX_BUCKET",
        "httpMode": "POST",
    }
    assert influx["secureJsonData"] == {"token": "$INFLUX_TOKEN"}


def test_grafana_gets_the_variables_and_folders_that_its_files_name() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    grafana = compose["services"]["grafana"]
    text = (GRAFANA / "provisioning/datasources/taktwatch.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"\$(\w+)", text)) <= set(grafana["environment"])
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in grafana["volumes"]}
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/taktwatch.yml").read_text(encoding="utf-8"))[
        "providers"
    ]
    assert mounted[provider["options"]["path"]] == "./dashboards/grafana/dashboards"
    assert mounted["/etc/grafana/provisioning/dashboards"] == "./dashboards/grafana/provisioning/dashboards"
    assert mounted["/etc/grafana/provisioning/datasources"] == "./dashboards/grafana/provisioning/datasources"
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.name in {path.name for path in FILES}
    assert str(home.parent) == provider["options"]["path"]


def test_provisioning_files_have_no_key_that_grafana_does_not_know() -> None:
    """Grafana passes over unknown keys without a word."""
    for source in sources().values():
        known = {"name", "uid", "type", "access", "url", "isDefault", "editable", "jsonData", "secureJsonData"}
        assert set(source) <= known
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/taktwatch.yml").read_text(encoding="utf-8"))[
        "providers"
    ]
    assert set(provider) <= {
        "name",
        "orgId",
        "type",
        "folder",
        "disableDeletion",
        "allowUiUpdates",
        "updateIntervalSeconds",
        "options",
    }
