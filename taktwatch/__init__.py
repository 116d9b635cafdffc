"""taktwatch: streaming production-line inspection. This package is the floor and roof of the house.

The rooms (`ingest`, `detector`, `kpi_engine`, `alerts`, `dashboards.console`, `taktwatch.audit`) stand on the
modules here and meet only in `taktwatch.app`.
"""

__version__ = "0.1.0"
