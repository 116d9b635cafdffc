"""taktwatch: streaming production-line inspection. This package is the floor and roof of the house.

The rooms (`ingest`, `detector`, `kpi_engine`, `alerts`, `dashboards.console`, `taktwatch.audit`) stand on the
modules here and meet only in `taktwatch.app`.
"""

import os

# NumPy reads it when it is loaded, after this. The products here are small: on several cores most of the time goes into
# threads that wait for each other, and the network wants those cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
