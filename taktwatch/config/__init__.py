"""line.toml and TAKTWATCH_* environment variables become one validated object.

Precedence: defaults < line.toml < environment. `TAKTWATCH_BUS` sets `bus`; two underscores go a table deeper
(`TAKTWATCH_CONSOLE__PORT` sets `console.port`). Secrets are read from the environment only, never from line.toml.
"""

from taktwatch.config.alerts import AlertRule, AlertsConfig, AppriseChannel, WebhookChannel
from taktwatch.config.line import LineConfig
from taktwatch.config.loading import load_config, parse_config, with_folder
from taktwatch.config.products import ClassConfig, CostsConfig, ProductConfig, SectionConfig
from taktwatch.config.services import (
    ConsoleConfig,
    DetectorConfig,
    EngineName,
    IngestConfig,
    KafkaConfig,
    KpiConfig,
    ReviewsConfig,
)
from taktwatch.config.shifts import ShiftConfig
from taktwatch.config.spc import Signal, SpcConfig
from taktwatch.config.stations import FolderSource, SimulatorSource, SourceConfig, StationConfig, VideoSource

__all__ = [
    "AlertRule",
    "AlertsConfig",
    "AppriseChannel",
    "ClassConfig",
    "ConsoleConfig",
    "CostsConfig",
    "DetectorConfig",
    "EngineName",
    "FolderSource",
    "IngestConfig",
    "KafkaConfig",
    "KpiConfig",
    "LineConfig",
    "ProductConfig",
    "ReviewsConfig",
    "SectionConfig",
    "ShiftConfig",
    "Signal",
    "SimulatorSource",
    "SourceConfig",
    "SpcConfig",
    "StationConfig",
    "VideoSource",
    "WebhookChannel",
    "load_config",
    "parse_config",
    "with_folder",
]
