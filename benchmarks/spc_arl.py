"""How often control charts call falsely, and how soon they see a change: average run lengths by simulation.

python benchmarks/spc_arl.py                    2,000 runs a cell, about ten seconds on one core
python benchmarks/spc_arl.py --runs 10000

A line makes subgroups of 500 boards, 1 % of them failing; from subgroup to subgroup the rate breathes, so that counts
vary 1.73 times as much as a binomial's (three times the variance). The run length is the number of subgroups up to the
first signal: in control it is the time between false alarms (long is good), after the rate has doubled it is the delay
(short is good). Limits are either known, or estimated by phase I from 100 subgroups of the same line, as in practice:
anew in every run. Runs end at 5,000 subgroups; means are then too low, never too high.

How a rate breathes matters: the beta distribution (the usual model of overdispersion) is the reference; lognormal has a
heavier tail, and "normal" is what textbooks' tables of run lengths assume.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

Array = np.ndarray[Any, np.dtype[Any]]
D2 = 2 / sqrt(np.pi)
LONGEST = 5_000


@dataclass(frozen=True)
class Line:
    """A simulated line."""

    n: int = 500
    rate: float = 0.01
    sigma_z: float = 1.73
    shape: str = "beta"

    def rates(self, rng: np.random.Generator, size: int | tuple[int, int], rate: float) -> Array:
        """Return the share of failed boards in each of `size` subgroups.

        The variance of the underlying rate is rho p (1 - p), rho = (sigma_z^2 - 1) / (n - 1); a change of p keeps rho.
        """
        rho = (self.sigma_z**2 - 1) / (self.n - 1)
        variance = rho * rate * (1 - rate)
        if self.shape == "normal":
            noise = self.sigma_z * np.sqrt(self.n * rate * (1 - rate)) * rng.standard_normal(size)
            return np.asarray(np.clip(np.round(self.n * rate + noise), 0, self.n) / self.n)
        if self.shape == "lognormal":
            squared = np.log1p(variance / rate**2)
            shares = np.exp(np.log(rate) - squared / 2 + np.sqrt(squared) * rng.standard_normal(size))
        else:
            shares = rng.beta(rate * (1 / rho - 1), (1 - rate) * (1 / rho - 1), size)
        return np.asarray(rng.binomial(self.n, np.minimum(shares, 1.0)) / self.n)


@dataclass(frozen=True)
class Chart:
    """A chart of rates: weight 1 is a Shewhart chart; `limit` a fixed threshold; `reference` not None a CUSUM."""

    name: str
    width: float = 3.0
    weight: float = 1.0
    overdispersed: bool = True
    limit: float | None = None
    reference: float | None = None


@dataclass(frozen=True)
class Limits:
    """Centre and sigma_z of each run."""

    centre: Array
    sigma_z: Array


def known(line: Line, runs: int) -> Limits:
    """Return the true parameters for every run."""
    return Limits(np.full(runs, line.rate), np.full(runs, line.sigma_z))


def estimated(
    rng: np.random.Generator, line: Line, runs: int, windows: int, width: float, *, spoiled: int = 0
) -> Limits:
    """Phase I of every run, as `kpi_engine.spc.phase1`: from `windows` subgroups, `spoiled` of them at 6 %."""
    rates = line.rates(rng, (runs, windows), line.rate)
    for _ in range(spoiled):
        rates[np.arange(runs), rng.integers(0, windows, runs)] = line.rates(rng, runs, 0.06)
    return phase1(rates, line.n, width)


def phase1(rates: Array, n: int, width: float) -> Limits:
    """Estimate, remove what is beyond `width`, repeat; `rates` has a row for every run."""
    kept = np.ones(rates.shape, dtype=bool)
    while True:
        centre = (rates * kept).sum(axis=1) / kept.sum(axis=1)
        z = (rates - centre[:, None]) / np.sqrt(centre * (1 - centre) / n)[:, None]
        neighbours = kept[:, 1:] & kept[:, :-1]
        sigma_z = (np.abs(np.diff(z, axis=1)) * neighbours).sum(axis=1) / neighbours.sum(axis=1) / D2
        beyond = kept & (np.abs(z) > width * sigma_z[:, None])
        if not beyond.any():
            return Limits(centre, sigma_z)
        kept &= ~beyond


def run_lengths(sample: Callable[[int], Array], n: int, limits: Limits, chart: Chart, longest: int = LONGEST) -> Array:
    """Return each run's first signal; `sample(k)` gives the next rate of the k runs that go on."""
    runs = limits.centre.size
    lengths, going = np.full(runs, longest), np.arange(runs)
    centre = limits.centre
    spread = np.sqrt(centre * (1 - centre) / n) * (limits.sigma_z if chart.overdispersed else 1.0)
    level, variance, high, low = np.zeros(runs), np.zeros(runs), np.zeros(runs), np.zeros(runs)
    for step in range(1, longest + 1):
        rate = sample(going.size)
        if chart.limit is not None:
            hit = rate > chart.limit
        elif chart.reference is not None:
            z = (rate - centre) / spread
            high = np.maximum(0.0, z - chart.reference + high)
            low = np.maximum(0.0, -z - chart.reference + low)
            hit = (high > chart.width) | (low > chart.width)
        else:
            level = chart.weight * (rate - centre) + (1 - chart.weight) * level
            variance = chart.weight**2 * spread**2 + (1 - chart.weight) ** 2 * variance
            deviation = chart.width * np.sqrt(variance)
            hit = (level > deviation) | (centre + level < np.maximum(0.0, centre - deviation))
        lengths[going[hit]] = step
        if hit.any():
            on = ~hit
            going, centre, spread = going[on], centre[on], spread[on]
            level, variance, high, low = level[on], variance[on], high[on], low[on]
        if not going.size:
            break
    return lengths


def measure(seed: int, line: Line, limits: Limits, chart: Chart) -> tuple[Array, Array]:
    """Return run lengths in control, and after a change to twice the rate."""
    rng = np.random.default_rng(seed)
    quiet = run_lengths(lambda k: line.rates(rng, k, line.rate), line.n, limits, chart)
    moved = run_lengths(lambda k: line.rates(rng, k, 2 * line.rate), line.n, limits, chart)
    return quiet, moved


DEFAULT = Chart("Laney p' with EWMA(0.2, 3.3): the default", 3.3, 0.2)
CHARTS = (
    Chart("fixed threshold: above 2 %", limit=0.02),
    Chart("p chart, 3 sigma", overdispersed=False),
    Chart("p with EWMA(0.2, 3.05)", 3.05, 0.2, overdispersed=False),
    Chart("Laney p', 3 sigma"),
    Chart("Laney p' with CUSUM(0.5, 5)", 5.0, reference=0.5),
    Chart("Laney p' with EWMA(0.2, 3.05)", 3.05, 0.2),
    DEFAULT,
)


def row(table: Table, name: str, lengths: tuple[Array, Array]) -> None:
    """Add a row of both run lengths, with the standard error of the first mean."""
    quiet, moved = lengths
    capped = f" ({(quiet == LONGEST).mean():.1%} cut off)" if (quiet == LONGEST).any() else ""
    table.add_row(
        name,
        f"{quiet.mean():.0f} ± {quiet.std() / sqrt(quiet.size):.0f}{capped}",
        f"{np.median(quiet):.0f}",
        f"{np.quantile(quiet, 0.1):.0f}",
        f"{moved.mean():.1f}",
        f"{np.quantile(moved, 0.9):.0f}",
    )


def fresh(title: str) -> Table:
    """Return a table with the columns of `row`."""
    table = Table("chart", title=title, title_justify="left")
    for column in ("in control: mean", "median", "10 %", "rate doubled: mean", "90 %"):
        table.add_column(column, justify="right")
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Average run lengths of control charts, by simulation.")
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    runs, seed, line = asked.runs, asked.seed, Line()
    rng = np.random.default_rng(seed + 1)
    console, begun = Console(width=140), time.perf_counter()

    table = fresh(f"Known limits, {runs:,} runs: windows (of 500 boards) up to the first signal")
    for chart in CHARTS:
        row(table, chart.name, measure(seed, line, known(line, runs), chart))
    console.print(table)

    table = fresh("Limits estimated from 100 subgroups (phase I removes what is beyond 4.5 sigma)")
    limits = estimated(rng, line, runs, 100, 4.5)
    for chart in CHARTS[1:]:
        row(table, chart.name, measure(seed, line, limits, chart))
    console.print(table)

    centre, sigma_z = (f"{part.mean():.4f} ± {part.std():.4f}" for part in (limits.centre, limits.sigma_z))
    console.print(f"Estimated from these: centre {centre} (true {line.rate}), sigma_z {sigma_z} (true {line.sigma_z})")

    table = fresh("The default chart, other baselines")
    cases = [
        ("100 subgroups, phase I at 3 sigma", 100, 3.0, 0),
        ("50 subgroups", 50, 4.5, 0),
        ("200 subgroups", 200, 4.5, 0),
        ("400 subgroups", 400, 4.5, 0),
        ("100 subgroups, 5 of them at 6 %", 100, 4.5, 5),
        ("100 subgroups, 5 of them at 6 %, nothing removed", 100, np.inf, 5),
    ]
    for name, windows, width, spoiled in cases:
        row(table, name, measure(seed, line, estimated(rng, line, runs, windows, width, spoiled=spoiled), DEFAULT))
    narrow = replace(DEFAULT, width=3.05)
    row(table, "400 subgroups, width 3.05", measure(seed, line, estimated(rng, line, runs, 400, 4.5), narrow))
    console.print(table)

    table = fresh("The default chart, other lines, limits estimated from 100 subgroups")
    others = [
        ("rates breathe lognormally", replace(line, shape="lognormal")),
        ("counts are normal", replace(line, shape="normal")),
        ("no overdispersion (sigma_z 1.01)", replace(line, sigma_z=1.01)),
        ("sigma_z 2.5", replace(line, sigma_z=2.5)),
        ("base rate 3 %", replace(line, rate=0.03)),
        ("base rate 0.3 %", replace(line, rate=0.003)),
        ("base rate 0.3 %, 1,700 boards a subgroup", replace(line, rate=0.003, n=1700)),
        ("2,000 boards a subgroup", replace(line, n=2000)),
    ]
    for name, other in others:
        row(table, name, measure(seed, other, estimated(rng, other, runs, 100, 4.5), DEFAULT))
    console.print(table)
    console.print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
