"""What must not stop the KPI service, and what must: on both buses."""

import asyncio
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from contracts.bus_backends import Backend, KafkaBackend, SqliteBackend
from kpi_line import PATIENCE_S, QUICK, eventually, opened, published, records, running, send
from timelines import mark, result

from kpi_engine.metrics import OFFSETS_LOST
from kpi_engine.service import GROUP, KpiService
from taktwatch.bus import Bus, Outgoing
from taktwatch.checkpoints import Checkpoints, load_checkpoint
from taktwatch.config import FolderSource, LineConfig, ProductConfig, StationConfig
from taktwatch.errors import BadRecord, OffsetLost, RecordTooLarge, UnknownSchema
from taktwatch.records import DeadLetter
from taktwatch.topics import Topics, lag
from taktwatch.wire import encode
