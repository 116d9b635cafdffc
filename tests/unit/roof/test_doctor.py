"""The doctor over real buses and stores: sound lines are told sound, and each illness by its name and remedy."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from servers.influx import InfluxServer

from taktwatch.bus import Outgoing, TopicSpec
from taktwatch.bus.connect import open_bus
from taktwatch.clock import now
from taktwatch.config import KafkaConfig, LineConfig, parse_config
from taktwatch.doctor import Check, State, examine
from taktwatch.doctor.backends import check_clock, judge_fold
from taktwatch.native import available
from taktwatch.pictures import encode_png
from taktwatch.simulator import BoardLook, board
from taktwatch.store.connect import open_store
from taktwatch.topics import Topics

ROOT = Path(__file__).parents[3]


def line(folder: Path, **tables: Any) -> LineConfig:
    """Return a line with everything it needs in `folder`: a model, a template, room for a spool."""
    weights = b"weights"
    model = folder / "models" / "m"
    model.mkdir(parents=True, exist_ok=True)
    (model / "weights.safetensors").write_bytes(weights)
    card = {"licence": "Apache-2.0", "weights_sha256": hashlib.sha256(weights).hexdigest()}
    (model / "card.json").write_text(json.dumps(card))
    shot = board(5, 1, size=(128, 128), look=BoardLook(camera="binary"), defect_probability=0.0)
    (folder / "golden.png").write_bytes(encode_png(shot.picture))
    described = {
        "data_dir": str(folder / "data"),
        "stations": [{"name": "top", "product": "demo", "source": {"kind": "simulator"}}],
        "products": {"demo": {"model": "m", "um_per_px": 20.0, "template": str(folder / "golden.png")}},
        "detector": {"models_dir": str(folder / "models")},
        "ingest": {"spool_max_bytes": 2**20},
        **tables,
    }
    return parse_config(described, "the test", {})


def told(config: LineConfig, **environ: str) -> dict[str, Check]:
    """Examine a line; of several checks of one name the worst is kept."""
    worst: dict[str, Check] = {}
    for check in asyncio.run(examine(config, environ, now())):
        rank = list(State).index(check.state)
        if check.name not in worst or rank > list(State).index(worst[check.name].state):
            worst[check.name] = check
    return worst


async def begun(config: LineConfig) -> None:
    """Create topics and store, as `taktwatch run` does."""
    bus = open_bus(config.bus_url, config.kafka, client="test")
    await bus.ensure(Topics(config.prefix).specs(config.retention))
    await bus.publish([Outgoing(Topics(config.prefix).results, b"line-1", b"{}")])
    await bus.close()
    store = open_store(config.kpis_url, os.environ, retention=timedelta(days=config.kpi.retention_days))
    await store.prepare()
    await store.close()


def test_a_sound_line_is_sound(tmp_path: Path) -> None:
    config = line(tmp_path)
    asyncio.run(begun(config))
    checks = told(config)
    assert {check.state for check in checks.values()} == {State.OK}
    wanted = {"configuration", "bus", "topics", "store", "model", "template", "disk", "spool", "clock"}
    assert set(checks) == wanted
    assert "newest record on the bus" in checks["clock"].said


def test_a_fresh_line_is_warned_of_and_nothing_is_made(tmp_path: Path) -> None:
    config = line(tmp_path)
    checks = told(config)
    assert {name for name, check in checks.items() if check.state is State.WARNING} == {"topics", "store"}
    assert "taktwatch.frames" in checks["topics"].said
    assert all("run" in checks[name].remedy for name in ("topics", "store"))
    assert not (tmp_path / "data").exists()


def test_topics_that_are_not_as_they_should_be_are_named(tmp_path: Path) -> None:
    config = line(tmp_path)

    async def odd() -> None:
        bus = open_bus(config.bus_url, KafkaConfig(), client="test")
        specs = {spec.name: spec for spec in Topics().specs(config.retention)}
        specs["taktwatch.frames"] = TopicSpec("taktwatch.frames", 3, timedelta(days=30))
        specs["taktwatch.dead"] = TopicSpec("taktwatch.dead", 1, timedelta(hours=1))
        await bus.ensure(list(specs.values()))
        await bus.close()

    asyncio.run(odd())
    check = told(config)["topics"]
    assert check.state is State.WARNING
    assert "taktwatch.frames has 3 partitions, wanted 8" in check.said
    assert "taktwatch.dead keeps records 1 hours, wanted 30 days" in check.said


def test_a_compacted_log_of_checkpoints_that_is_not_compacted_fails(tmp_path: Path) -> None:
    config = line(tmp_path)

    async def odd() -> None:
        bus = open_bus(config.bus_url, KafkaConfig(), client="test")
        await bus.ensure([TopicSpec("taktwatch.checkpoints", 1, None)])
        await bus.close()

    asyncio.run(odd())
    checks = [check for check in asyncio.run(examine(config, {}, now())) if check.name == "topics"]
    assert [check.state for check in checks] == [State.WARNING, State.FAILED]
    assert checks[1].said == "taktwatch.checkpoints is not compacted"


@pytest.mark.parametrize(
    ("harm", "name", "words"),
    [
        ("no card", "model", "card.json is missing"),
        ("no licence", "model", "names no licence"),
        ("other weights", "model", "SHA-256 differs"),
        ("no template", "template", "cannot be read"),
        ("half a template", "template", "no whole picture"),
        ("text for a template", "template", "no whole picture"),
    ],
)
def test_each_harm_to_a_file_is_told(tmp_path: Path, harm: str, name: str, words: str) -> None:
    config = line(tmp_path)
    model, golden = tmp_path / "models" / "m", tmp_path / "golden.png"
    match harm:
        case "no card":
            (model / "card.json").unlink()
        case "no licence":
            (model / "card.json").write_text("{}")
        case "other weights":
            (model / "weights.safetensors").write_bytes(b"weight5")
        case "no template":
            golden.unlink()
        case "half a template":
            golden.write_bytes(golden.read_bytes()[:-200])
        case "text for a template":
            golden.write_text("a golden template")
    check = told(config)[name]
    assert check.state is State.FAILED
    assert words in check.said
    assert check.remedy


def test_settings_that_do_not_fit_each_other_are_told(tmp_path: Path) -> None:
    config = line(
        tmp_path,
        console={"host": "0.0.0.0"},  # noqa: S104 - what is tested is that somebody objects
        alerts={"rules": [{"name": "r", "station": "bottom"}]},
    )
    checks = told(config)
    assert checks["console"].state is State.FAILED
    assert "bottom" in checks["configuration"].said
    assert "console" not in told(config, TAKTWATCH_API_KEY="a key")


def test_a_spool_that_fills_and_a_full_disk_are_told(tmp_path: Path) -> None:
    config = line(tmp_path)
    spool = tmp_path / "data" / "spool" / "line-1.sqlite"
    spool.parent.mkdir(parents=True)
    spool.write_bytes(bytes(2**20))
    assert told(config)["spool"].state is State.WARNING
    huge = line(tmp_path, ingest={"spool_max_bytes": 2**60})
    assert told(huge)["disk"].state is State.WARNING


def test_servers_that_are_away_fail_with_the_address(tmp_path: Path) -> None:
    config = line(tmp_path, bus="kafka://127.0.0.1:1", kpis="influxdb://127.0.0.1:1")
    account = {"INFLUX_ORG": "o", "INFLUX_BUCKET": "b", "INFLUX_TOKEN": "t"}
    checks = told(config, **account)
    assert checks["bus"].state is checks["store"].state is State.FAILED
    assert "127.0.0.1:1" in checks["bus"].said
    assert "127.0.0.1:1" in checks["store"].said
    assert "topics" not in checks
    assert "INFLUX_TOKEN" in told(config)["store"].said


@pytest.mark.influxdb
def test_a_bucket_that_keeps_too_little_is_told(tmp_path: Path, influx: InfluxServer) -> None:
    environ = influx.environ
    config = line(tmp_path, kpis=f"influxdb://{influx.address}")
    assert told(config, **environ)["store"].state is State.WARNING

    async def short() -> None:
        store = open_store(config.kpis_url, environ, retention=timedelta(days=3))
        await store.prepare()
        await store.close()

    asyncio.run(short())
    check = told(config, **environ)["store"]
    assert check.state is State.WARNING
    assert "keeps windows 3 days, kpi.retention_days asks for 730 days" in check.said
    refused = told(config, **environ | {"INFLUX_TOKEN": "wrong"})["store"]
    assert refused.state is State.FAILED
    assert "INFLUX_TOKEN" in refused.said


def test_clocks_that_differ_are_told_and_old_records_are_no_fault() -> None:
    noon, minute = datetime(2026, 3, 3, 12, tzinfo=UTC), timedelta(minutes=1)
    week_old = {"newest record on the bus": noon - timedelta(days=7)}
    assert check_clock(noon, week_old, minute).state is State.OK
    for clocks in (
        {"newest record on the bus": noon + 2 * minute},
        {"KPI store": noon + 2 * minute},
        {"KPI store": noon - 2 * minute},
    ):
        assert check_clock(noon, clocks, minute).state is State.FAILED


@pytest.mark.kafka
def test_a_topic_on_kafka_that_takes_no_pictures_fails(tmp_path: Path, kafka_broker: str) -> None:
    config = line(tmp_path, bus=f"kafka://{kafka_broker}", prefix=f"t{tmp_path.name}")

    async def odd() -> None:
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # noqa: PLC0415 - as somebody else would

        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_broker)
        await admin.start()
        await admin.create_topics(
            [NewTopic(f"{config.prefix}.frames", 8, 1, topic_configs={"max.message.bytes": "1048588"})]
        )
        await admin.close()

    asyncio.run(odd())
    checks = told(config)
    assert checks["fold"].state is (State.OK if available() else State.WARNING)
    check = checks["topics"]
    assert check.state is State.FAILED
    assert "max.message.bytes is 1048588" in check.said
    assert "message.timestamp.type is CreateTime" in check.said


def test_a_fold_without_the_compiled_library_is_warned_of() -> None:
    check = judge_fold(built=False)
    assert (check.state, "make setup" in (check.remedy or "")) == (State.WARNING, True)


def test_the_command_exits_1_and_says_json(tmp_path: Path) -> None:
    settings = {"TAKTWATCH_DATA_DIR": str(tmp_path / "data"), "TAKTWATCH_DETECTOR__MODELS_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "taktwatch", "doctor", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | settings,
    )
    assert done.returncode == 1, done.stderr
    checks = json.loads(done.stdout)
    assert {"name", "state", "said", "remedy"} == set(checks[-1]) | {"remedy"}
    assert [check["state"] for check in checks if check["name"] == "model"] == ["failed", "failed"]
    wrong = subprocess.run(
        [sys.executable, "-m", "taktwatch", "doctor"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TAKTWATCH_COLOUR": "green"},
    )
    assert wrong.returncode == 1
    assert "colour" in wrong.stdout
