"""What the alerts room says about itself to Prometheus."""

from prometheus_client import Counter, Gauge

__all__ = ["BAD_RECORDS", "CHANNEL_UP", "NOTIFICATIONS", "OPEN", "TRANSITIONS", "WAITING", "WINDOWS"]

WINDOWS = Counter(
    "taktwatch_alerts_windows_total", "KPI windows read, by the window's state; open ones decide nothing.", ["state"]
)
TRANSITIONS = Counter("taktwatch_alerts_transitions_total", "Alert transitions published.", ["rule", "state"])
OPEN = Gauge("taktwatch_alerts_open", "Alerts firing, recovering or without data now.", ["severity"])
BAD_RECORDS = Counter("taktwatch_alerts_bad_records_total", "Records on the kpis topic that could not be read.")
NOTIFICATIONS = Counter("taktwatch_alerts_notifications_total", "Attempts to notify.", ["channel", "outcome"])
CHANNEL_UP = Gauge(
    "taktwatch_alerts_channel_up", "1 while the channel took the last message, 0 while it fails.", ["channel"]
)
WAITING = Gauge(
    "taktwatch_alerts_channel_waiting_seconds", "Pause before the next attempt on a failing channel.", ["channel"]
)
