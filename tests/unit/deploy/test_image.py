"""What goes into the images, as far as it can be told without a container engine."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def subset(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(DEPLOY / "lock_subset.py"), str(ROOT / "requirements.lock"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def report(folder: Path, *names: str) -> str:
    path = folder / "report.json"
    path.write_text(json.dumps({"install": [{"metadata": {"name": name}} for name in names]}), encoding="utf-8")
    return str(path)


def test_an_image_gets_its_part_of_the_lock_with_markers_and_hashes(tmp_path: Path) -> None:
    part = subset(report(tmp_path, "taktwatch", "SciPy", "typing_extensions"))
    assert part.returncode == 0, part.stderr
    entries = re.findall(r"^([\w-]+)==\S+( ; .+?)? \\$", part.stdout, re.MULTILINE)
    assert [name for name, _ in entries] == ["scipy", "scipy", "typing-extensions"]
    assert all("python_full_version" in marker for name, marker in entries if name == "scipy")
    lines = [line for line in part.stdout.splitlines() if not re.match(r"[\w-]+==", line)]
    assert lines
    assert all(line.strip().startswith("--hash=sha256:") for line in lines)
    whole = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert all(line in whole for line in part.stdout.splitlines())


def test_what_the_lock_lacks_is_named(tmp_path: Path) -> None:
    part = subset(report(tmp_path, "no-such-thing"))
    assert part.returncode == 1
    assert "no-such-thing" in part.stderr
    assert "Traceback" not in part.stderr


def test_the_extras_of_the_images_are_extras_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", table, re.MULTILINE))
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    used = {part["build"]["args"]["EXTRAS"] for part in compose["services"].values() if "build" in part}
    assert used - {""} <= extras
    assert compose["services"]["kpi"]["build"]["args"]["EXTRAS"] == ""


def test_every_copied_file_exists_and_is_not_kept_out_of_the_build() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    copied = [match.split() for match in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)]
    sources = {source for *many, _ in copied for source in many}
    assert sources == let_in
    assert all((ROOT / source).exists() for source in sources)


def test_every_package_of_the_project_is_in_the_image() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == {"taktwatch", "ingest", "detector", "kpi_engine", "alerts", "dashboards"}
    assert all(f"COPY {name} {name}\n" in DOCKERFILE for name in packages)


def test_base_images_are_pinned_and_the_service_is_not_root() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert all(re.fullmatch(r"(python:3|rust:1)\.\d+\.\d+-slim-\w+", base) for base in bases)
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]


@contextmanager
def answering(status: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def healthcheck(port: int) -> int:
    environ = {**os.environ, "HEALTH_URL": f"http://127.0.0.1:{port}/healthz"}
    return subprocess.run(
        [sys.executable, str(DEPLOY / "healthcheck.py")], env=environ, capture_output=True, check=False
    ).returncode


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (204, 1), (503, 1)])
def test_a_container_is_healthy_when_its_service_answers_200(status: int, exit_status: int) -> None:
    with answering(status) as port:
        assert healthcheck(port) == exit_status


def test_a_container_whose_service_does_not_answer_is_unhealthy() -> None:
    with answering(200) as port:
        pass
    assert healthcheck(port) == 1


def test_prometheus_scrapes_every_service() -> None:
    jobs = {job["job_name"]: job for job in yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]}
    assert {"ingest", "detector", "kpi", "alerts", "console"} <= set(jobs)
    for name in ("ingest", "detector", "kpi", "alerts"):
        [found] = jobs[name]["dns_sd_configs"]
        assert found["names"] == [name]
        assert found["port"] == 9100
    assert jobs["console"]["authorization"]["credentials_file"] == "/run/secrets/taktwatch_api_key"
