"""How the services work: ingest, detector, KPI engine, console, reviews, and the connection to Kafka."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from taktwatch.config.base import Settings

__all__ = ["ConsoleConfig", "DetectorConfig", "EngineName", "IngestConfig", "KafkaConfig", "KpiConfig", "ReviewsConfig"]


class IngestConfig(Settings):
    """Limits at the door, and the spool."""

    max_picture_bytes: int = Field(default=12 * 2**20, ge=1024, le=15 * 2**20)
    max_picture_px: int = Field(default=64_000_000, ge=4096)
    max_side_px: int = Field(default=20_000, ge=64)
    max_panel_px: int = Field(default=400_000_000, ge=4096, description="pictures that are read by rows, in strips")
    panel_overlap_px: int = Field(
        default=96, ge=0, le=1024, description="what strips of a panel share; more than a board may be shifted by"
    )
    spool_max_bytes: int = Field(default=2 * 2**30, ge=2**20)
    max_clock_skew_s: float = Field(default=60.0, gt=0)
    mark_interval_s: float = Field(default=1.0, gt=0)


EngineName = Literal[
    "torch",
    "torch-fp16",
    "openvino",
    "openvino-bf16",
    "openvino-int8",
    "onnx",
    "onnx-tensorrt",
    "onnx-tensorrt-fp16",
]


class DetectorConfig(Settings):
    """The engine and how pictures are gathered for it."""

    models_dir: Path = Path("models")
    engine: Literal["auto", EngineName] = Field(
        default="auto", description="auto: the fastest that `taktwatch models verify` has proven here, else torch"
    )
    engines_dir: Path = Field(
        default=Path("~/.cache/taktwatch/engines"), description="exports of models and their proofs; may be deleted"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_batch: int = Field(default=4, ge=1, le=64)
    threads: int = Field(default=0, ge=0, description="0: as many as there are cores")
    stage_threads: int = Field(default=0, ge=0, description="for decoding, registering and judging; 0: one a core")
    look_ahead: int = Field(default=1024, ge=1, description="frames read ahead, so that no station waits for another")
    probation_frames: int = Field(
        default=200, ge=1, description="a model swapped in is given up if it errs within its first so many frames"
    )
    tile_px: int = Field(
        default=1024, ge=64, le=4096, description="pictures of more than four tiles of this side are cut into such"
    )
    tile_overlap_px: int = Field(default=64, ge=0, le=1024, description="what neighbouring tiles share, at least")

    @model_validator(mode="after")
    def tiles_are_more_than_overlap(self) -> "DetectorConfig":
        """Refuse tiles that would share all they have."""
        if 2 * self.tile_overlap_px > self.tile_px:
            raise ValueError(
                f"tile_overlap_px ({self.tile_overlap_px}) must not exceed half of tile_px ({self.tile_px})"
            )
        return self


class KpiConfig(Settings):
    """Windows and corrections."""

    horizon_minutes: int = Field(
        default=60, ge=1, description="how long after its end a window still takes late frames"
    )
    max_hold_s: float = Field(default=120.0, gt=0, description="a frame without outcome for so long counts as missing")
    board_hold_s: float = Field(
        default=5.0, ge=0, le=60, description="a board with views still out is closed so long after its newest one"
    )
    boards: bool = Field(default=True, description="publish the verdict of every board")
    roll_ups: tuple[Literal["1h", "shift", "lot"], ...] = Field(
        default=("1h", "shift", "lot"), description="windows made of one-minute windows"
    )
    silent_after_s: float = Field(
        default=10.0, gt=0, description="no word from ingest for so long: the station is lost"
    )
    checkpoint_interval_s: float = Field(default=1.0, gt=0)
    compiled: bool = Field(
        default=True, description="on Kafka the compiled library folds ordinary results, where it was built"
    )
    retention_days: float = Field(default=730.0, gt=0, description="how long the store keeps windows")


class ConsoleConfig(Settings):
    """The web page and its API. Any host but loopback wants TAKTWATCH_API_KEY in the environment."""

    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=0, le=65535)


class ReviewsConfig(Settings):
    """How many passed boards a person is asked to check."""

    sample_rate: float = Field(
        default=0.02, ge=0, le=1, description="share of passed boards drawn at random for checking; 0: none"
    )


class KafkaConfig(Settings):
    """Connection settings beside the address; the password comes from TAKTWATCH_KAFKA_PASSWORD."""

    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    replication: int = Field(default=1, ge=1)
