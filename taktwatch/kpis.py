"""Every figure that is shown or alarmed on, each one small function of a `KpiWindow`'s integer sums.

Console, API, Grafana, alerts and replay call these (or read what the store derived by them), so that one number is the
same everywhere. A figure is a `Rate`: its value, how many things it rests on, and for proportions and frequencies a
95 % interval. With nothing to rest on there is no value: None, never 0. `docs/kpis.md` has the formulas in a table.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import exp, prod, sqrt
from statistics import NormalDist

from taktwatch.records import KpiWindow, WindowState

__all__ = [
    "ANY",
    "MEASURED",
    "METRICS",
    "SUMMED",
    "Rate",
    "completeness",
    "corroded_length_share",
    "corroded_share",
    "dead_rate",
    "deepest_um",
    "defect_rate",
    "defects_total",
    "dpmo",
    "dpu",
    "finished",
    "first_pass_yield",
    "frequency",
    "latency_quantile_s",
    "mean_depth_share",
    "mean_depth_um",
    "mean_extent",
    "mean_latency_s",
    "mean_score",
    "merge",
    "metric",
    "missing",
    "pareto",
    "poisson_interval",
    "proportion",
    "ratio",
    "review_rate",
    "rolled_throughput_yield",
    "score_drift",
    "surface_corrosion",
    "takt_s",
    "throughput_per_hour",
    "wilson",
]

Z_95 = 1.959963984540054
"""The two-sided 95 % quantile of the normal distribution."""

ANY = "*"
"""Stands in a sum where the parts differ in line, station or product."""

EXAMPLE = KpiWindow(
    window="1m",
    start=datetime(2026, 3, 3, 12, 0, tzinfo=UTC),
    end=datetime(2026, 3, 3, 12, 1, tzinfo=UTC),
    line="line-1",
    station="top",
    product="demo-board",
    revision=41,
    state=WindowState.CLOSED,
    accepted=22,
    inspected=20,
    passed=16,
    failed=3,
    review=1,
    dead=1,
    missing=1,
    first_pass=20,
    first_pass_passed=16,
    opportunities=5000,
    defects={"open": 4, "short": 1},
    layer_um2=2_000_000,
    corroded_um2=50_000,
    layer_length_um=40_000,
    corroded_length_um=3_000,
    deepest_um=12,
    surface_corrosion=1,
    latency_sum_us=2_400_000,
    latency_buckets={66: 10, 68: 10},
    scored=5,
    score_sum_bp=45_000,
    score_squares_bp2=406_500_000,
    measured=4,
    extent_sum_bp=600,
    extent_squares_bp2=110_000,
    depth_sum_bp=8_000,
    depth_squares_bp2=18_000_000,
    depth_sum_100nm=280,
    depth_squares_100nm2=22_000,
)
"""A minute of one station, used by the examples below."""


@dataclass(frozen=True)
class Rate:
    """A figure with what it rests on.

    `value` is None where `n` is 0. `low` and `high` bound the true figure with 95 % confidence: a proportion by Wilson,
    a frequency of defects by Poisson, a mean of scores by the normal distribution; they are None for other figures.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None


def wilson(successes: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval (1927) of a proportion, within 0 to 1; `n` at least 1. `z`: normal quantile, of 95 %.

    >>> low, high = wilson(3, 20)
    >>> round(low, 4), round(high, 4)
    (0.0524, 0.3604)
    >>> wilson(0, 10)[0], wilson(10, 10)[1]
    (0.0, 1.0)
    """
    share = successes / n
    squared = z * z
    centre = share + squared / (2 * n)
    spread = z * sqrt(share * (1 - share) / n + squared / (4 * n * n))
    scale = 1 + squared / n
    low = 0.0 if successes == 0 else max(0.0, (centre - spread) / scale)
    high = 1.0 if successes == n else min(1.0, (centre + spread) / scale)
    return low, high


def proportion(part: int, n: int) -> Rate:
    """Return `part / n`, 0 to 1, with its Wilson interval.

    >>> proportion(0, 0)
    Rate(value=None, n=0, low=None, high=None)
    """
    if n == 0:
        return Rate(None, 0)
    return Rate(part / n, n, *wilson(part, n))


def ratio(amount: float, base: float, n: int) -> Rate:
    """Return `amount / base` resting on `n` things: no proportion of n, so without interval.

    >>> ratio(3, 2, 10)
    Rate(value=1.5, n=10, low=None, high=None)
    """
    return Rate(None, n) if base == 0 else Rate(amount / base, n)


def frequency(count: int, base: float, n: int) -> Rate:
    """Return `count / base` resting on `n` things, with the exact 95 % interval of a Poisson count (Garwood 1936).

    >>> rate = frequency(5, 20, 20)
    >>> rate.value, round(rate.low, 4), round(rate.high, 4)
    (0.25, 0.0812, 0.5834)
    >>> frequency(5, 0, 0)
    Rate(value=None, n=0, low=None, high=None)
    """
    if base == 0:
        return Rate(None, n)
    low, high = poisson_interval(count)
    return Rate(count / base, n, low / base, high / base)


EXACT_UP_TO = 100
"""Counts above this take the Wilson-Hilferty approximation, there within 0.01 % of the exact bound."""


@lru_cache(maxsize=4096)
def poisson_interval(count: int) -> tuple[float, float]:
    """Return the 95 % interval of the mean of a Poisson count: exact, i.e. quantiles of a chi-square over two.

    >>> [round(bound, 3) for bound in poisson_interval(0)], [round(bound, 3) for bound in poisson_interval(10)]
    ([0.0, 3.689], [4.795, 18.39])
    """
    low, high = wilson_hilferty(count, -Z_95), wilson_hilferty(count + 1, Z_95)
    if count > EXACT_UP_TO:
        return low, high
    return (
        0.0 if count == 0 else mean_where(count - 1, 0.975, low),
        mean_where(count, 0.025, high),
    )


def wilson_hilferty(shape: int, z: float) -> float:
    """Return approximately the quantile at `z` of a gamma distribution of whole shape, 0 for shape 0."""
    return shape * (1 - 1 / (9 * shape) + z / (3 * sqrt(shape))) ** 3 if shape else 0.0


def mean_where(count: int, share: float, near: float) -> float:
    """Return the mean at which a Poisson count is `count` or less with probability `share`; found by halving."""
    low, high = near / 2, 2 * near + 5
    for _ in range(60):
        middle = (low + high) / 2
        if at_most(count, middle) > share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def at_most(count: int, mean: float) -> float:
    """Return the probability that a Poisson count of this mean is `count` or less.

    >>> round(at_most(2, 1.0), 4)
    0.9197
    """
    total = term = exp(-mean)
    for k in range(1, count + 1):
        term *= mean / k
        total += term
    return total


def defect_rate(window: KpiWindow) -> Rate:
    """Share of inspected boards that failed, 0 to 1: failed / inspected. n: inspected.

    >>> defect_rate(EXAMPLE).value
    0.15
    """
    return proportion(window.failed, window.inspected)


def review_rate(window: KpiWindow) -> Rate:
    """Share of inspected boards that a person must look at, 0 to 1: review / inspected. n: inspected.

    >>> review_rate(EXAMPLE).value
    0.05
    """
    return proportion(window.review, window.inspected)


def first_pass_yield(window: KpiWindow) -> Rate:
    """Share of boards that passed on their first visit, 0 to 1: first_pass_passed / first_pass. n: first visits.

    Source: ISO 22400-2:2014, first pass yield.

    >>> first_pass_yield(EXAMPLE).value
    0.8
    """
    return proportion(window.first_pass_passed, window.first_pass)


def finished(window: KpiWindow) -> int:
    """Return how many frames have their outcome, inspected, skipped or dead: accepted - missing.

    Frames, not boards: of a board made of three pictures it counts three.

    >>> finished(EXAMPLE)
    21
    """
    return window.accepted - window.missing


def dead_rate(window: KpiWindow) -> Rate:
    """Share of finished frames that could not be used, 0 to 1: dead / finished. n: finished frames.

    >>> round(dead_rate(EXAMPLE).value, 4)
    0.0476
    """
    return proportion(window.dead, finished(window))


def completeness(window: KpiWindow) -> Rate:
    """Share of accepted frames that have their outcome, 0 to 1: finished / accepted. n: accepted frames.

    The balance of the ledger over a time: 1 unless frames were lost.

    >>> round(completeness(EXAMPLE).value, 4)
    0.9545
    """
    return proportion(finished(window), window.accepted)


def defects_total(window: KpiWindow) -> int:
    """Defects of all classes found in inspected boards.

    >>> defects_total(EXAMPLE)
    5
    """
    return sum(window.defects.values())


def dpu(window: KpiWindow) -> Rate:
    """Defects per unit: defects / inspected. n: inspected. Interval: Poisson, exact. Source: ISO 13053-1:2011.

    >>> dpu(EXAMPLE).value
    0.25
    """
    return frequency(defects_total(window), window.inspected, window.inspected)


def dpmo(window: KpiWindow) -> Rate:
    """Defects per million opportunities: 1e6 * defects / opportunities. n: inspected boards. Interval: Poisson, exact.

    Opportunities are those of boards: a board of three pictures has them once. Source: ISO 13053-1:2011.

    >>> dpmo(EXAMPLE).value
    1000.0
    """
    return frequency(defects_total(window), window.opportunities / 1e6, window.inspected)


def rolled_throughput_yield(stations: Iterable[KpiWindow]) -> Rate:
    """Share of boards that pass every station at their first visit, 0 to 1: product of the first-pass yields.

    Give one window for each station that the product passes. n: first visits at the station that saw the fewest. The
    interval is at least 95 %: each station's Wilson interval at 1 - 5 %/k (Bonferroni), multiplied. Source: Breyfogle,
    Implementing Six Sigma (2003).

    >>> rate = rolled_throughput_yield([EXAMPLE, EXAMPLE])
    >>> round(rate.value, 4), rate.n, round(rate.low, 3), round(rate.high, 3)
    (0.64, 20, 0.303, 0.863)
    >>> rolled_throughput_yield([])
    Rate(value=None, n=0, low=None, high=None)
    """
    counts = [(window.first_pass_passed, window.first_pass) for window in stations]
    n = min((visits for _, visits in counts), default=0)
    if n == 0:
        return Rate(None, n)
    z = NormalDist().inv_cdf(1 - 0.025 / len(counts))
    bounds = [wilson(passed, visits, z) for passed, visits in counts]
    return Rate(
        prod(passed / visits for passed, visits in counts),
        n,
        prod(low for low, _ in bounds),
        prod(high for _, high in bounds),
    )


def corroded_share(window: KpiWindow) -> Rate:
    """Corroded share of the copper layers' area, 0 to 1: corroded_um2 / layer_um2. n: inspected boards.

    >>> corroded_share(EXAMPLE).value
    0.025
    """
    return ratio(window.corroded_um2, window.layer_um2, window.inspected)


def corroded_length_share(window: KpiWindow) -> Rate:
    """Share of the copper layers' length with corrosion at it, 0 to 1: corroded_length_um / layer_length_um.

    n: inspected boards.

    >>> corroded_length_share(EXAMPLE).value
    0.075
    """
    return ratio(window.corroded_length_um, window.layer_length_um, window.inspected)


def deepest_um(window: KpiWindow) -> Rate:
    """Deepest corrosion found in a layer, um; no value where no layer was seen. n: inspected boards.

    >>> deepest_um(EXAMPLE).value
    12.0
    """
    return Rate(float(window.deepest_um) if window.layer_um2 else None, window.inspected)


def surface_corrosion(window: KpiWindow) -> Rate:
    """Layers whose surface corrosion breaks through, a count; no value where no layer was seen. n: inspected boards.

    >>> surface_corrosion(EXAMPLE).value
    1.0
    """
    return Rate(float(window.surface_corrosion) if window.layer_um2 else None, window.inspected)


def mean_score(window: KpiWindow) -> Rate:
    """Mean score of the defects found, 0 to 1: score_sum_bp / scored / 10,000. n: scored detections.

    Interval: mean +- 1.96 standard errors, none below two scores.

    >>> rate = mean_score(EXAMPLE)
    >>> rate.value, rate.n, round(rate.low, 3), round(rate.high, 3)
    (0.9, 5, 0.846, 0.954)
    """
    return mean_bp(window.scored, window.score_sum_bp, window.score_squares_bp2)


def mean_extent(window: KpiWindow) -> Rate:
    """Mean extent of corrosion, 0 to 1: the largest corroded area share of a layer in each picture, on average.

    extent_sum_bp / measured / 10,000; what `section.max_corroded_area_share` limits. n: pictures that showed a layer,
    those without corrosion included. Interval: mean +- 1.96 standard errors.

    >>> mean_extent(EXAMPLE).value, mean_extent(EXAMPLE).n
    (0.015, 4)
    """
    return mean_bp(window.measured, window.extent_sum_bp, window.extent_squares_bp2)


def mean_depth_share(window: KpiWindow) -> Rate:
    """Mean depth of corrosion as a share of the layer's thickness, 0 to 1: the largest of each picture, on average.

    depth_sum_bp / measured / 10,000; what `section.max_depth_share` limits. n and interval as of `mean_extent`.

    >>> rate = mean_depth_share(EXAMPLE)
    >>> rate.value, rate.n, round(rate.low, 3), round(rate.high, 3)
    (0.2, 4, 0.12, 0.28)
    """
    return mean_bp(window.measured, window.depth_sum_bp, window.depth_squares_bp2)


def mean_depth_um(window: KpiWindow) -> Rate:
    """Mean depth of corrosion, um: the deepest of each picture, on average; depth_sum_100nm / measured / 10.

    n and interval as of `mean_extent`.

    >>> rate = mean_depth_um(EXAMPLE)
    >>> rate.value, rate.n, round(rate.low, 2), round(rate.high, 2)
    (7.0, 4, 4.23, 9.77)
    """
    n, sum_100nm = window.measured, window.depth_sum_100nm
    if n == 0:
        return Rate(None, 0)
    value, error_share = sum_100nm / n / 10, error_bp(n, sum_100nm, window.depth_squares_100nm2)
    if error_share is None:
        return Rate(value, n)
    error = error_share * 1000  # from steps of 1 / 10,000 to steps of 1 / 10
    return Rate(value, n, max(0.0, value - Z_95 * error), value + Z_95 * error)


def mean_bp(n: int, sum_bp: int, squares_bp2: int) -> Rate:
    """Return the mean of n values of 0 to 1 from their sums in basis points, with its interval."""
    if n == 0:
        return Rate(None, 0)
    value, error = sum_bp / n / 10_000, error_bp(n, sum_bp, squares_bp2)
    if error is None:
        return Rate(value, n)
    return Rate(value, n, max(0.0, value - Z_95 * error), min(1.0, value + Z_95 * error))


def error_bp(n: int, sum_bp: int, squares_bp2: int) -> float | None:
    """Return the standard error of such a mean, 0 to 1; None below two values."""
    if n < 2:  # noqa: PLR2004 - a spread takes two
        return None
    return sqrt(max(0.0, squares_bp2 - sum_bp**2 / n) / (n - 1) / n) / 10_000


def score_error(window: KpiWindow) -> float | None:
    """Return the standard error of the mean score: sample standard deviation / sqrt(n); None below two scores.

    >>> round(score_error(EXAMPLE), 5)
    0.02739
    """
    return error_bp(window.scored, window.score_sum_bp, window.score_squares_bp2)


def score_drift(window: KpiWindow, reference: KpiWindow) -> Rate:
    """How far the mean score has moved since a reference time: mean_score(window) - mean_score(reference), -1 to 1.

    n: scored detections of the window. Scores that sink while defects stay the same are the first sign that pictures no
    longer look like those the model learnt from. Interval: difference +- 1.96 standard errors, those of both means
    (Welch 1947, in its normal limit); none where either has fewer than two scores. Compare like with like: one
    station, one product, one model.

    >>> import msgspec
    >>> before = msgspec.structs.replace(EXAMPLE, scored=400, score_sum_bp=3_800_000, score_squares_bp2=36_200_000_000)
    >>> rate = score_drift(EXAMPLE, before)
    >>> round(rate.value, 3), rate.n, round(rate.low, 3), round(rate.high, 3)
    (-0.05, 5, -0.104, 0.004)
    >>> score_drift(EXAMPLE, msgspec.structs.replace(EXAMPLE, scored=0)).value is None
    True
    """
    now, before = mean_score(window).value, mean_score(reference).value
    if now is None or before is None:
        return Rate(None, window.scored)
    value, errors = now - before, (score_error(window), score_error(reference))
    if errors[0] is None or errors[1] is None:
        return Rate(value, window.scored)
    error = sqrt(errors[0] ** 2 + errors[1] ** 2)
    return Rate(value, window.scored, value - Z_95 * error, value + Z_95 * error)


def missing(window: KpiWindow) -> Rate:
    """Accepted frames that have no outcome after `max_hold_s`, a count. n: accepted frames.

    >>> missing(EXAMPLE)
    Rate(value=1.0, n=22, low=None, high=None)
    """
    return Rate(float(window.missing), window.accepted)


def throughput_per_hour(window: KpiWindow) -> Rate:
    """Boards inspected per hour over the window's length: inspected / (end - start). n: inspected.

    >>> throughput_per_hour(EXAMPLE).value
    1200.0
    """
    return ratio(window.inspected, (window.end - window.start) / timedelta(hours=1), window.inspected)


def takt_s(window: KpiWindow) -> Rate:
    """Mean seconds from board to board over the window's length: (end - start) / inspected. n: inspected.

    >>> takt_s(EXAMPLE).value
    3.0
    """
    return ratio((window.end - window.start).total_seconds(), window.inspected, window.inspected)


def mean_latency_s(window: KpiWindow) -> Rate:
    """Mean seconds from receipt to verdict: latency_sum_us / inspected. n: inspected.

    From when ingest had the board's first picture to when the detector judged its last. What the camera took before is
    not in it: only some sources read the time of capture off a clock (`Frame.stamped`).

    >>> mean_latency_s(EXAMPLE).value
    0.12
    """
    return ratio(window.latency_sum_us / 1e6, window.inspected, window.inspected)


def latency_quantile_s(window: KpiWindow, q: float) -> Rate:
    """Quantile `q` (0 to 1) of the seconds from receipt to verdict, from the base-2 histogram. n: latencies counted.

    Placed geometrically inside its bucket, so it is off by less than a bucket's width: 19 %.

    >>> rate = latency_quantile_s(EXAMPLE, 0.5)
    >>> round(rate.value, 4), rate.n
    (0.1102, 20)
    """
    n = sum(window.latency_buckets.values())
    if n == 0:
        return Rate(None, 0)
    rank = q * n
    below = 0
    key = 0
    for key in sorted(window.latency_buckets):
        count = window.latency_buckets[key]
        if below + count >= rank:
            inside = (rank - below) / count
            return Rate(2.0 ** ((key + inside) / 4) / 1e6, n)
        below += count
    return Rate(2.0 ** ((key + 1) / 4) / 1e6, n)


def latency_p95_s(window: KpiWindow) -> Rate:
    """95 % quantile of the seconds from receipt to verdict. n: latencies counted.

    >>> round(latency_p95_s(EXAMPLE).value, 4)
    0.1532
    """
    return latency_quantile_s(window, 0.95)


METRICS: dict[str, Callable[[KpiWindow], Rate]] = {
    "completeness": completeness,
    "corroded_length_share": corroded_length_share,
    "corroded_share": corroded_share,
    "dead_rate": dead_rate,
    "deepest_um": deepest_um,
    "defect_rate": defect_rate,
    "dpmo": dpmo,
    "dpu": dpu,
    "first_pass_yield": first_pass_yield,
    "latency_p50_s": lambda window: latency_quantile_s(window, 0.50),
    "latency_p95_s": latency_p95_s,
    "latency_p99_s": lambda window: latency_quantile_s(window, 0.99),
    "mean_depth_share": mean_depth_share,
    "mean_depth_um": mean_depth_um,
    "mean_extent": mean_extent,
    "mean_latency_s": mean_latency_s,
    "mean_score": mean_score,
    "missing": missing,
    "review_rate": review_rate,
    "surface_corrosion": surface_corrosion,
    "takt_s": takt_s,
    "throughput_per_hour": throughput_per_hour,
}
"""Figures by name: those alert rules may name, and those the store writes beside the sums."""


def metric(window: KpiWindow, name: str) -> Rate:
    """Return a figure by its name in `METRICS`. Raises `KeyError` for a name that is none.

    >>> metric(EXAMPLE, "defect_rate").n
    20
    """
    return METRICS[name](window)


def pareto(window: KpiWindow) -> list[tuple[str, int]]:
    """Return defect classes with their counts, the most frequent first, equal counts by name.

    >>> pareto(EXAMPLE)
    [('open', 4), ('short', 1)]
    """
    return sorted(window.defects.items(), key=lambda item: (-item[1], item[0]))


def merge(windows: Iterable[KpiWindow], window: str = "sum") -> KpiWindow | None:
    """Sum windows into one that reaches from the first start to the last end; None where there are none.

    Line, station and product are kept where all parts agree and "*" elsewhere, and so is the lot (elsewhere None); the
    station's state is that of the latest part; the sum is as unfinished as its most unfinished part. Rates of the sum
    are rates over all boards, not means of rates. Give each window once: newest revision only.

    >>> both = merge([EXAMPLE, EXAMPLE])
    >>> both.inspected, defect_rate(both).value, both.defects
    (40, 0.15, {'open': 8, 'short': 2})
    """
    parts = sorted(windows, key=lambda part: part.start)
    if not parts:
        return None
    defects: Counter[str] = Counter()
    buckets: Counter[int] = Counter()
    for part in parts:
        defects.update(part.defects)
        buckets.update(part.latency_buckets)
    states = {part.state for part in parts}
    return KpiWindow(
        window=window,
        start=parts[0].start,
        end=max(part.end for part in parts),
        line=common(part.line for part in parts),
        station=common(part.station for part in parts),
        product=common(part.product for part in parts),
        lot=parts[0].lot if len({part.lot for part in parts}) == 1 else None,
        revision=max(part.revision for part in parts),
        state=next(state for state in WindowState if state in states),
        defects=dict(defects),
        latency_buckets=dict(buckets),
        deepest_um=max(part.deepest_um for part in parts),
        station_state=parts[-1].station_state,
        **{name: sum(getattr(part, name) for part in parts) for name in SUMMED},
    )


MEASURED = (
    "extent_sum_bp",
    "extent_squares_bp2",
    "depth_sum_bp",
    "depth_squares_bp2",
    "depth_sum_100nm",
    "depth_squares_100nm2",
)
"""The sums over `measured` pictures: all 0 where there are none."""

SUMMED = (
    "accepted",
    "inspected",
    "passed",
    "failed",
    "review",
    "skipped",
    "dead",
    "missing",
    "late_or_repeat",
    "first_pass",
    "first_pass_passed",
    "opportunities",
    "layer_um2",
    "corroded_um2",
    "surface_corrosion",
    "latency_sum_us",
    "marks",
    "layer_length_um",
    "corroded_length_um",
    "scored",
    "score_sum_bp",
    "score_squares_bp2",
    "measured",
    *MEASURED,
)
"""The fields of a window that add up."""


def common(names: Iterable[str]) -> str:
    """Return the one name all agree on, or "*".

    >>> common(["top", "top"]), common(["top", "section"])
    ('top', '*')
    """
    first, *others = set(names)
    return ANY if others else first
