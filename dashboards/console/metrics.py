"""What the console tells Prometheus of itself."""

from prometheus_client import Counter, Gauge, Histogram

__all__ = ["BUS_UP", "CLIENTS", "CLIENTS_DROPPED", "EVENTS", "RECORDS", "REFUSED", "REQUEST_SECONDS"]

CLIENTS = Gauge("taktwatch_console_clients", "Pages that listen to the live stream")
CLIENTS_DROPPED = Counter("taktwatch_console_clients_dropped_total", "Pages sent away because they did not keep up")
EVENTS = Counter("taktwatch_console_events_total", "Events sent to the live stream", ["event"])
RECORDS = Counter("taktwatch_console_records_total", "Records folded into the live view", ["topic"])
REFUSED = Counter("taktwatch_console_refused_total", "Requests refused at the door", ["reason"])
REQUEST_SECONDS = Histogram("taktwatch_console_request_seconds", "Time to answer an API request", ["route"])
BUS_UP = Gauge("taktwatch_console_bus_up", "1 while the console hears the bus")
