"""Measurement system analysis from a table: attribute agreement where there are ratings, gauge R&R where values. Pure.

A table has the columns `part`, `appraiser`, `trial`; then either `rating` (and `reference`, if known), or one column of
numbers for each quantity measured (`depth_um`, `extent` ...). A model is an appraiser like any other.
"""

import csv
import io
from collections.abc import Mapping, Sequence

import msgspec

from detector.evaluation.agreement import Agreement, Rating, attribute_agreement
from detector.evaluation.gauge import Gauge, Measurement, gauge_study
from taktwatch.errors import BadInput

__all__ = ["Study", "analyse"]

KEYS = ("part", "appraiser", "trial")


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """What a table holds: an agreement, or a gauge study for each quantity."""

    agreement: Agreement | None = None
    gauges: tuple[Gauge, ...] = ()


def analyse(text: str, name: str, *, tolerances: Mapping[str, float] | None = None, seed: int = 0) -> Study:
    """Study a table in CSV. `tolerances`: whole widths by quantity. Raises `BadInput` naming table and line."""
    try:
        return _study(*_rows(text), dict(tolerances or {}), seed)
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from error


def _study(rows: Sequence[Mapping[str, str]], columns: Sequence[str], widths: Mapping[str, float], seed: int) -> Study:
    """Study a table by what its columns are."""
    if "rating" in columns:
        if widths:
            raise BadInput("ratings have no tolerance; it belongs to measured values")
        return Study(agreement=_agreement(rows, seed))
    quantities = [column for column in columns if column not in KEYS]
    if not quantities:
        raise BadInput("neither a column `rating` nor a measured quantity")
    if strangers := sorted(widths.keys() - set(quantities)):
        raise BadInput(f"a tolerance for {strangers[0]!r}, which is no column; there are: {', '.join(quantities)}")
    return Study(gauges=tuple(_gauge(rows, one, widths.get(one), seed) for one in quantities))


def _rows(text: str) -> tuple[list[dict[str, str]], list[str]]:
    """Read the table. Raises `BadInput`."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    columns = [column.strip() for column in next(reader, [])]
    if missing := [key for key in KEYS if key not in columns]:
        raise BadInput(f"no column {missing[0]!r}; a study has part, appraiser, trial, and rating or values")
    if len(set(columns)) != len(columns):
        raise BadInput("two columns of one name")
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise BadInput(f"line {reader.line_num}: {len(cells)} cells, the head has {len(columns)}")
        row = {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}
        if empty := [key for key in KEYS if not row[key]]:
            raise BadInput(f"line {reader.line_num}: {empty[0]} is empty")
        rows.append(row | {"": str(reader.line_num)})
    return rows, columns


def _agreement(rows: Sequence[Mapping[str, str]], seed: int) -> Agreement:
    """Study ratings."""
    for row in rows:
        if not row["rating"]:
            raise BadInput(f"line {row['']}: rating is empty")
    ratings = [
        Rating(
            part=row["part"],
            appraiser=row["appraiser"],
            trial=row["trial"],
            rating=row["rating"],
            reference=row.get("reference", ""),
        )
        for row in rows
    ]
    return attribute_agreement(ratings, seed=seed)


def _gauge(rows: Sequence[Mapping[str, str]], quantity: str, tolerance: float | None, seed: int) -> Gauge:
    """Study one quantity."""
    measured = []
    for row in rows:
        try:
            value = float(row[quantity])
        except ValueError:
            raise BadInput(f"line {row['']}: {quantity} is {row[quantity]!r}, no number") from None
        measured.append(Measurement(part=row["part"], appraiser=row["appraiser"], trial=row["trial"], value=value))
    return gauge_study(measured, quantity=quantity, tolerance=tolerance, seed=seed)
