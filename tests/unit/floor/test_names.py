"""Our top-level package names are ours alone in this environment."""

import importlib.metadata

OURS = {"taktwatch", "ingest", "detector", "kpi_engine", "alerts", "dashboards"}


def test_no_other_distribution_ships_our_package_names() -> None:
    owners = importlib.metadata.packages_distributions()
    assert {name: owners[name] for name in OURS if set(owners.get(name, ["taktwatch"])) != {"taktwatch"}} == {}
