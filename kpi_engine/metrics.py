"""What the KPI engine says of itself to Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter("taktwatch_kpi_records_total", "Records of the results topic folded", ["kind"])
BAD_RECORDS = Counter("taktwatch_kpi_bad_records_total", "Records that went to the dead topic", ["topic"])
OFFSETS_LOST = Counter(
    "taktwatch_kpi_offsets_lost_total", "Times the service stopped because retention removed what was not counted"
)
BOARDS = Counter("taktwatch_kpi_boards_published_total", "Verdicts of boards published, revisions too", ["verdict"])
WINDOWS = Counter("taktwatch_kpi_windows_published_total", "Window revisions published", ["state"])
SAVE_SECONDS = Histogram("taktwatch_kpi_save_seconds", "Publishing windows, saving state and position, committing")
STATE_BYTES = Gauge("taktwatch_kpi_state_bytes", "Size of the saved state", ["partition"])
FRAMES = Gauge(
    "taktwatch_kpi_frames",
    "Frames of the sessions still remembered: accepted, inspected, skipped, dead, pending, lost, repeats",
    ["line", "station", "kind"],
)
STORE_HELD = Gauge("taktwatch_kpi_store_held_windows", "Windows in hand that the store has not taken yet")
LEDGER = Gauge(
    "taktwatch_kpi_ledger",
    "The balance of a station, in frames: accepted (marks), inspected, skipped, dead (first results), pending (numbers "
    "without outcome), lost (declared missing), unaccounted (what is left over: 0 unless frames vanish)",
    ["line", "station", "term"],
)
WATERMARK_SECONDS = Gauge(
    "taktwatch_kpi_watermark_timestamp_seconds", "Event time up to which everything is in", ["line", "station"]
)
WATCHDOG_MARKS = Counter(
    "taktwatch_kpi_watchdog_marks_total", "Marks written for stations ingest is silent about", ["station"]
)
STORED = Counter("taktwatch_kpi_windows_stored_total", "Window revisions written to the store")
STORE_RETRIES = Counter("taktwatch_kpi_store_retries_total", "Writes tried again because the store did not answer")
STALE = Counter("taktwatch_kpi_windows_stale_total", "Older revisions, from a stale writer, that were not written")
CONTROL_POINTS = Counter("taktwatch_spc_points_total", "Points of control charts published", ["chart"])
SPC_SIGNALS = Counter("taktwatch_spc_signals_total", "Signals in published points", ["line", "station"])
BASELINES = Counter("taktwatch_spc_baselines_total", "Baselines taken or refused", ["author"])
REVIEWS_STORED = Counter("taktwatch_kpi_review_minutes_stored_total", "Minutes of reviews written to the store")
POINTS_STORED = Counter("taktwatch_spc_points_stored_total", "Points of control charts written to the store")
