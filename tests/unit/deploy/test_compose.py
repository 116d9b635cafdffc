"""docker-compose.yml: valid by the Compose Specification, true to the command line, and without a secret in it."""

import copy
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from taktwatch.app import SERVICES
from taktwatch.bus import MAX_RECORD_BYTES
from taktwatch.config import LineConfig, load_config

ROOT = Path(__file__).parents[3]
FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SCHEMA = json.loads((Path(__file__).parent / "compose_schema.json").read_text(encoding="utf-8"))
PARTS: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: part for name, part in PARTS.items() if "build" in part}
VARIABLE = re.compile(r"\$\{([A-Z_]+)(:[-?])?([^}]*)\}")
SECRET = re.compile(r"TOKEN|PASSWORD|KEY$|SECRET")

schema_check = jsonschema.Draft202012Validator(SCHEMA)


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_it_is_a_compose_file() -> None:
    schema_check.validate(COMPOSE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["services", "kpi", "commands"], ["run"]),
        (["services", "kpi", "depends_on"], {"kafka": {"condition": "healthy"}}),
        (["services", "kpi", "stop_grace_period"], "30 seconds"),
        (["services", "kpi", "environment"], {"A": 1}),
        (["services", "detector", "deploy", "resources", "reservations", "devices"], [{"driver": "nvidia"}]),
        (["networks_"], {}),
    ],
)
def test_the_schema_refuses_what_docker_would_refuse(path: list[str], value: object) -> None:
    broken = copy.deepcopy(COMPOSE)
    *parents, last = path
    inner = broken
    for name in parents:
        inner = inner[name]
    inner[last] = value
    assert not schema_check.is_valid(broken)


def test_docker_compose_agrees_where_it_is_installed() -> None:
    probe = (
        subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if on_path("docker")
        else None
    )
    if probe is None or probe.returncode:
        pytest.skip("docker compose is absent; the schema alone is checked (apt install docker-compose-plugin)")
    secrets = {name: value or "a-secret-for-tests" for name, value in example().items()}
    checked = subprocess.run(
        ["docker", "compose", "--file", str(FILE), "--profile", "*", "config", "--quiet"],
        capture_output=True,
        env={**os.environ, **secrets},
        check=False,
    )
    assert checked.returncode == 0, checked.stderr.decode()


def on_path(program: str) -> bool:
    return any((Path(folder) / program).exists() for folder in os.environ["PATH"].split(os.pathsep))


def test_every_service_of_the_command_line_has_a_container_that_runs_it() -> None:
    run = {name: part["command"] for name, part in OURS.items()}
    assert all(command[0] == "run" and command[1] in SERVICES for command in run.values()), run
    assert {command[1] for command in run.values()} == set(SERVICES)
    for name, command in run.items():
        assert command[2:4] == ["--config", "/etc/taktwatch/line.toml"], name


def test_only_services_that_are_alone_have_a_fixed_member_name() -> None:
    named = {name for name, part in OURS.items() if "--member" in part["command"]}
    assert named == set(SERVICES) - {"detector"}


def test_the_settings_in_the_environment_are_settings_that_exist() -> None:
    for name, part in OURS.items():
        environ = {key: "x" if SECRET.search(key) else str(value) for key, value in part["environment"].items()}
        config = load_config(ROOT / "line.toml", environ)
        assert isinstance(config, LineConfig)
        assert config.bus_url == "kafka://kafka:9092", name
        assert config.kpis_url == "influxdb://influxdb:8086", name
        assert config.metrics_port == 9100, name
        assert config.data_dir == Path("/var/lib/taktwatch"), name


def test_images_are_pinned() -> None:
    for name, part in PARTS.items():
        image, _, tag = part["image"].rpartition(":")
        assert image, f"{name} has no tag"
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), f"{name}: {tag} is no exact version"


def test_the_images_of_our_services_carry_the_projects_version() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert {part["image"].rpartition(":")[2] for part in OURS.values()} == {version[1]}


def test_every_file_that_is_named_exists() -> None:
    for name, part in PARTS.items():
        for volume in part.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./") and source != "./models":
                assert (ROOT / source).exists(), f"{name}: {source}"
        if "build" in part:
            assert (ROOT / part["build"]["context"] / part["build"]["dockerfile"]).is_file()


def test_every_volume_and_secret_and_dependency_is_declared() -> None:
    used = {volume.split(":")[0] for part in PARTS.values() for volume in part.get("volumes", [])}
    assert {name for name in used if not name.startswith(("./", "/"))} == set(COMPOSE["volumes"])
    assert {name for part in PARTS.values() for name in part.get("secrets", [])} == set(COMPOSE["secrets"])
    for name, part in PARTS.items():
        assert set(part.get("depends_on", {})) <= set(PARTS), name


def test_who_waits_for_health_waits_for_somebody_who_tells_it() -> None:
    for name, part in PARTS.items():
        for other, how in part.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in PARTS[other], f"{name} waits for {other}"


def test_no_secret_is_written_in_the_files() -> None:
    for name, part in PARTS.items():
        for key, value in part.get("environment", {}).items():
            if SECRET.search(key):
                assert re.fullmatch(r"\$\{[A-Z_]+:\?.+\}", value), (
                    f"{name}: {key} must come from the environment, or stop"
                )
    for key, value in example().items():
        assert not (SECRET.search(key) and value), f".env.example gives {key} a value"


def test_every_variable_is_described_in_the_example() -> None:
    wanted = {match[1] for match in VARIABLE.finditer(yaml.safe_dump(COMPOSE, width=10_000))} | {"COMPOSE_PROFILES"}
    assert set(example()) == wanted


def test_env_files_are_never_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {".env", "alerts.env"} <= set(ignored)


def test_nothing_is_published_beyond_loopback() -> None:
    for name, part in PARTS.items():
        assert all(port.startswith("127.0.0.1:") for port in part.get("ports", [])), name


def test_every_container_is_bounded_and_comes_back() -> None:
    for name, part in PARTS.items():
        assert part["restart"] == "unless-stopped", name
        assert part["deploy"]["resources"]["limits"]["memory"], name
        assert part["stop_grace_period"], name
        assert part["logging"]["options"]["max-size"], name


def test_our_containers_have_no_rights_they_do_not_need() -> None:
    for name, part in OURS.items():
        assert part["read_only"], name
        assert part["cap_drop"] == ["ALL"], name
        assert part["security_opt"] == ["no-new-privileges:true"], name
        assert all(volume.endswith(":ro") for volume in part["volumes"] if volume.startswith("./")), name


def test_one_detector_for_a_gpu_and_one_without() -> None:
    [device] = PARTS["detector"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert "reservations" not in PARTS["detector-cpu"]["deploy"]["resources"]
    assert (PARTS["detector"]["profiles"], PARTS["detector-cpu"]["profiles"]) == (["gpu"], ["cpu"])
    assert example()["COMPOSE_PROFILES"] in {"gpu", "cpu"}


def test_kafka_takes_the_largest_record_of_the_bus() -> None:
    kafka = PARTS["kafka"]["environment"]
    assert int(kafka["KAFKA_MESSAGE_MAX_BYTES"]) > MAX_RECORD_BYTES
    assert int(kafka["KAFKA_REPLICA_FETCH_MAX_BYTES"]) > MAX_RECORD_BYTES
