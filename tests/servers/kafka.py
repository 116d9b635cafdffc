"""A real Kafka broker for tests: one KRaft node from jars in a cache folder, on free ports, in a folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from servers.require import missing

HERE = Path(__file__).parent
REMEDY = (
    "install Java 17 and Maven (apt-get install openjdk-17-jre-headless maven), or set KAFKA_BOOTSTRAP=host:port "
    "of a running broker, or TAKTWATCH_KAFKA_JARS to a folder with Kafka's jars"
)
START_S = 60.0
STOP_S = 30.0

PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
log.segment.bytes=67108864
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.threads=1
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
message.max.bytes=17825792
num.network.threads=2
num.io.threads=4
num.partitions=1
controlled.shutdown.enable=false
broker.heartbeat.interval.ms=300
broker.session.timeout.ms=1500
"""


def jars() -> Path:
    """Return the folder with Kafka's jars, fetched by Maven where missing; skips or fails where that cannot be."""
    if given := os.environ.get("TAKTWATCH_KAFKA_JARS"):
        folder = Path(given)
        if not any(folder.glob("kafka_2.13-*.jar")):
            missing("kafka", f"TAKTWATCH_KAFKA_JARS={folder} holds no kafka_2.13-*.jar")
        return folder
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "taktwatch" / "kafka-4.1.1"
    if not any(folder.glob("kafka_2.13-*.jar")):
        fetch_jars(folder)
    return folder


def fetch_jars(folder: Path) -> None:
    """Let Maven copy the broker and what it needs; the folder appears whole or not at all."""
    maven = shutil.which("mvn")
    if maven is None:
        missing("kafka", REMEDY)
    part = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={part}"]
    done = subprocess.run(
        [maven, "-q", "-B", "-f", HERE / "pom.xml", *goal], capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(part, ignore_errors=True)
        missing("kafka", f"Maven could not fetch its jars: {(done.stdout + done.stderr)[-300:]}")
    try:
        part.rename(folder)
    except OSError:  # somebody else was faster
        shutil.rmtree(part)


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@dataclass(frozen=True)
class Security:
    """A broker that takes its clients only by SASL_SSL with this name and password; PEM files of its certificate."""

    username: str
    password: str
    certificate: Path
    key: Path

    def properties(self) -> str:
        """Return the lines of server.properties; a line break within a value is escaped."""
        chain, key = (path.read_text(encoding="utf-8").replace("\n", "\\n") for path in (self.certificate, self.key))
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        return (
            f"listener.name.plaintext.ssl.keystore.type=PEM\nlistener.name.plaintext.ssl.keystore.key={key}\n"
            f"listener.name.plaintext.ssl.keystore.certificate.chain={chain}\n"
            "listener.name.plaintext.sasl.enabled.mechanisms=PLAIN\nsasl.mechanism.inter.broker.protocol=PLAIN\n"
            f"listener.name.plaintext.plain.sasl.jaas.config={login} "
            f'username="{self.username}" password="{self.password}" user_{self.username}="{self.password}";\n'
            "listener.name.plaintext.ssl.truststore.type=PEM\n"
            f"listener.name.plaintext.ssl.truststore.certificates={chain}\n"
        )


class KafkaBroker:
    """A broker of one's own: it can be stopped, killed, and started again on the same port and data."""

    def __init__(self, folder: Path, security: Security | None = None) -> None:
        self.folder = folder
        self.port, controller = free_ports(2)
        self._java = shutil.which("java")
        if self._java is None:
            missing("kafka", REMEDY)
        self._classpath = f"{jars()}/*"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._properties = folder / "server.properties"
        text = PROPERTIES.format(port=self.port, controller=controller, data=folder / "data")
        if security is not None:
            text = text.replace("PLAINTEXT:PLAINTEXT,", "PLAINTEXT:SASL_SSL,") + security.properties()
        self._properties.write_text(text, encoding="utf-8")
        cluster = "MkU3OEVBNTcwNTJENDM2Qg"
        self._run("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._properties))

    @property
    def bootstrap(self) -> str:
        """The address, host:port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> "KafkaBroker":
        """Start and wait until it answers."""
        log = self.folder / "broker.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._command("-Xmx512m"), "kafka.Kafka", str(self._properties)],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"Kafka did not start on port {self.port}: {tail}")
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        """Shut it down in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)
        self._process = None

    def _run(self, tool: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._command("-Xmx128m"), tool, *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{tool} failed: {(done.stdout + done.stderr)[-2000:]}")

    def _command(self, memory: str) -> list[str]:
        assert self._java is not None
        return [self._java, memory, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", self._classpath]


def answers(port: int) -> bool:
    """Whether the broker takes connections; it does so only once it is ready to serve."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def running_bootstrap() -> str | None:
    """Return the address of a running broker to use instead of an own one, from KAFKA_BOOTSTRAP."""
    return os.environ.get("KAFKA_BOOTSTRAP") or None
