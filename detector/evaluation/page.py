"""The report as one HTML page that needs nothing else: figures first, then charts, then the worst mistakes. Pure."""

from collections.abc import Sequence
from html import escape
from math import exp, log

from detector.evaluation.charts import Axis, Curve, chart
from detector.evaluation.compare import Comparison
from detector.evaluation.curves import Pool
from detector.evaluation.figures import BoardRates, Figures, Known
from detector.evaluation.matching import Confusion
from detector.evaluation.pod import Detectability
from detector.evaluation.reliability import Reliability
from detector.evaluation.report import Origin, Report
from detector.intervals import Estimate, Rate

__all__ = ["Shown", "page"]

Shown = tuple[str, str]
"""A mistake: in words, and its picture as a data address."""

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:70rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.15rem;margin:2.2rem 0 .5rem;border-bottom:1px solid #ccc}
table{border-collapse:collapse;margin:.6rem 0}caption{text-align:left;color:#444;padding:.2rem 0}
th,td{padding:.25rem .7rem;border-bottom:1px solid #ddd;text-align:right;font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left}thead th{border-bottom:2px solid #888}
.charts{display:flex;flex-wrap:wrap;gap:1.2rem}svg{max-width:100%;height:auto;font:12px system-ui,sans-serif}
figure{margin:0;max-width:25rem}figure img{max-width:100%;image-rendering:pixelated;border:1px solid #bbb}
figcaption,.note{color:#444;font-size:.9rem}code{overflow-wrap:anywhere}.diagonal{background:#e6f2ea}
.mistakes{display:flex;flex-wrap:wrap;gap:1rem}
@media print{body{margin:0;max-width:none}h2{break-after:avoid}table,figure,svg{break-inside:avoid}}
"""

DASH = "&ndash;"
SHARES = (0, 0.2, 0.4, 0.6, 0.8, 1)
MOST_POINTS = 400
SIDES = ("first", "second")


def page(report: Report, pools: dict[str, Pool], misses: Sequence[Shown], false_calls: Sequence[Shown]) -> str:
    """Return the page."""
    figures, origin = report.figures, report.origin
    title = f"{origin.model.name} on {origin.dataset}"
    counted = f"{_n(figures.pictures, 'picture')} of {_n(figures.boards, 'board')}, {_n(figures.truths, 'truth')}"
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body><main>',
        f"<h1>{escape(title)}</h1>",
        f"<p>{counted}; intervals are 95 %.</p>",
        _headline(figures),
        _verdicts(figures.rates),
        _classes(figures),
        _boards(figures),
        '<div class="charts">',
        _precision_recall(figures, pools),
        _reliability(figures.reliability),
        "</div>",
        _sizes(figures.detectability, figures.unsized),
        _confusion(figures.confusion),
        _comparison(figures, report.comparison),
        _mistakes("Largest defects that were missed", misses),
        _mistakes("Surest false calls", false_calls),
        _origin(origin),
        "</main></body></html>",
    ]
    return "\n".join(part for part in parts if part)


def _n(count: int, noun: str) -> str:
    """Count something in words."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column heads its rows; cells are HTML."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    return f"<table><caption>{caption}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _percent(value: float | None) -> str:
    """Write a share; a dash where it is not known."""
    return DASH if value is None else f"{100 * value:.2f} %"


def _between(estimate: Estimate) -> str:
    """Write an interval; why there is none."""
    if estimate.low is None or estimate.high is None:
        return f"{DASH} ({estimate.units} are too few)"
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f} %"


def _known(name: str, known: Known) -> list[str]:
    """Write one figure with both intervals."""
    return [name, _percent(known.value), _between(known.pictures), _between(known.boards)]


def _headline(figures: Figures) -> str:
    """Write the figures of the published rule, and COCO's."""
    head = figures.headline
    rows = [
        _known("AP, all classes pooled", head.ap),
        _known("AP, mean of classes", head.mean_ap),
        _known("F at the product's thresholds", head.f_reported),
    ]
    if head.f_validation is not None:
        rows.append(_known("F at the validation threshold", head.f_validation))
    rows += [
        _known(f"best F (at {head.best_f_threshold:.3f}, chosen on these pictures)", head.best_f),
        _known("AP at IoU 0.75, pooled", head.ap75),
    ]
    box, mask = figures.coco_box, figures.coco_mask
    coco = [
        [name, _percent(one.map), _percent(one.map50), _percent(one.map75)]
        for name, one in (("boxes", box), ("masks", mask))
    ]
    return (
        "<h2>Detections</h2>"
        + _table(
            "A detection is right when IoU &gt; 0.33 with an unused box of its class. Intervals by resampling whole "
            "units: what other pictures of these boards, and what other boards, might give.",
            ["figure", "value", "other pictures", "other boards"],
            rows,
        )
        + _table("COCO's figures, mean over classes", ["", "mAP 0.50:0.95", "at 0.50", "at 0.75"], coco)
    )


def _rate(name: str, one: Rate) -> list[str]:
    """Write a rate with its bounds."""
    if not one.n:
        return [name, "0 of 0", "not measured: no such board here", DASH]
    return [name, f"{one.events} of {one.n}", _percent(one.value), f"≤ {100 * one.upper:.2f} %"]


def _verdicts(rates: BoardRates) -> str:
    """Write what the verdicts were worth."""
    rows = [
        _rate("escapes: defective boards that passed", rates.escapes),
        _rate("false calls: good boards that were stopped", rates.false_calls),
        _rate("boards sent to review", rates.reviews),
    ]
    caption = "A picture counts as a board; fail and review both stop it. Upper bounds: exact binomial, one-sided 95 %."
    return "<h2>Verdicts</h2>" + _table(caption, ["", "boards", "rate", "upper bound"], rows)


def _classes(figures: Figures) -> str:
    """Write the figures of each class."""
    rows = [
        [
            escape(one.label),
            str(one.truths),
            _percent(one.ap.value),
            _between(one.ap.pictures) if one.truths else DASH,
            _percent(one.best_f),
            f"{one.found.events} of {one.found.n}",
            str(one.false_calls),
        ]
        for one in figures.classes
    ]
    head = ["class", "true", "AP", "other pictures", "best F", "found", "false calls"]
    return "<h2>Classes</h2>" + _table("Found and false calls at the product's thresholds.", head, rows)


def _boards(figures: Figures) -> str:
    """Write the figures of each board, where they are told."""
    if not figures.by_board:
        return ""
    rows = [
        [
            escape(one.board),
            str(one.pictures),
            str(one.truths),
            _percent(one.ap.value),
            _between(one.ap),
            _percent(one.best_f.value),
            _between(one.best_f),
        ]
        for one in figures.by_board
    ]
    head = ["board", "pictures", "true", "AP", "other pictures", "best F", "other pictures"]
    return "<h2>Boards</h2>" + _table("Each board alone, classes pooled.", head, rows)


def _precision_recall(figures: Figures, pools: dict[str, Pool]) -> str:
    """Draw precision against recall by class."""
    curves = []
    for index, label in enumerate(("", *figures.labels)):
        if not pools[label].truths.sum() or not pools[label].scores.size:
            continue
        recall, precision = pools[label].curve()
        step = max(recall.size // MOST_POINTS, 1)
        points = [(float(r), float(p)) for r, p in zip(recall[::step], precision[::step], strict=True)]
        curves.append(Curve(label or "all", points, colour=index))
    described = "; ".join(f"{one.label} AP {_percent(one.ap.value)}" for one in figures.classes)
    drawn = chart(
        "Precision and recall", described, Axis("recall", 0, 1, SHARES), Axis("precision", 0, 1, SHARES), curves
    )
    return f"<section><h2>Precision and recall</h2>{drawn}</section>"


def _reliability(one: Reliability) -> str:
    """Draw how often detections of each score are right."""
    points = [(entry.score, entry.right) for entry in one.bins]
    bars = [(entry.right_low, entry.right_high) for entry in one.bins]
    curves = [Curve("as it should be", [(0, 0), (1, 1)], colour=6), Curve("measured", points, dots=True, bars=bars)]
    described = "; ".join(f"score {entry.score:.2f}: {_percent(entry.right)} of {entry.n} right" for entry in one.bins)
    drawn = chart("Reliability", described, Axis("score", 0, 1, SHARES), Axis("share right", 0, 1, SHARES), curves)
    error = "not known" if one.ece is None else f"{one.ece:.3f}"
    return f"<section><h2>What scores mean</h2>{drawn}<p class=note>Expected calibration error {error}.</p></section>"


def _sizes(one: Detectability, unsized: int) -> str:
    """Draw the chance of a hit by defect size."""
    if not one.n:
        return ""
    smallest, largest = one.bands[0].low, one.bands[-1].high
    ticks = [tick for tick in (20, 50, 100, 200, 500, 1000, 2000, 5000) if smallest <= tick <= largest]
    low, high = smallest * 0.9, largest * 1.1
    dots = [((band.low * band.high) ** 0.5, band.found.value or 0.0) for band in one.bands]
    bars = [(band.found.low, band.found.high) for band in one.bands]
    curves = [Curve("found, with exact 95 %", dots, dots=True, bars=bars, colour=1)]
    if one.offset is not None and one.slope is not None:
        curves.append(Curve("fitted", _fitted(one.offset, one.slope, low, high)))
    described = "; ".join(
        f"{band.low:.0f} to {band.high:.0f} um: {band.found.events} of {band.found.n}" for band in one.bands
    )
    drawn = chart(
        "Probability of detection",
        described,
        Axis("equivalent diameter, um", low, high, ticks, log=True),
        Axis("found", 0, 1, SHARES),
        curves,
    )
    words = [f"{one.found} of {one.n} defects reported, under whatever name."]
    if one.a90_um is not None:
        bound = "not bounded" if one.a90_95_um is None else f"{one.a90_95_um:.0f} um"
        words.append(f"a50 {one.a50_um:.0f} um, a90 {one.a90_um:.0f} um, a90/95 {bound} (profile likelihood).")
    if one.why_not:
        words.append(f"{one.why_not[0].upper()}{one.why_not[1:]}.")
    if unsized:
        words.append(f"{unsized} of unknown size left out.")
    text = escape(" ".join(words))
    return f"<h2>Probability of detection by size</h2>{drawn}<p class=note>{text}</p>"


def _fitted(offset: float, slope: float, low: float, high: float) -> list[tuple[float, float]]:
    """Return points of the fitted curve."""
    sizes = [low * (high / low) ** (index / 80) for index in range(81)]
    return [(size, 1 / (1 + exp(-max(min(offset + slope * log(size), 500), -500)))) for size in sizes]


def _confusion(one: Confusion) -> str:
    """Write what truths were found as."""
    names = [*map(escape, one.labels), "nothing"]
    rows = []
    for index, (name, counts) in enumerate(zip(names, one.counts, strict=True)):
        cells = [
            f'<span class="diagonal">{count}</span>' if index == column and count else str(count or "")
            for column, count in enumerate(counts)
        ]
        rows.append([name, *cells])
    caption = "Rows: what is there. Columns: what it was reported as, at the product's thresholds."
    return "<h2>Confusion</h2>" + _table(caption, ["", *names], rows)


def _comparison(figures: Figures, one: Comparison | None) -> str:
    """Write how two models differ: differences, then what each reaches, side by side."""
    if one is None:
        return ""
    rows = [_known("AP, pooled", one.ap), _known("best F", one.best_f)]
    split = one.verdicts
    return (
        f"<h2>{escape(one.first)} against {escape(one.second)}</h2>"
        + _table("Differences, first minus second.", ["", "difference", "other pictures", "other boards"], rows)
        + _beside(figures, one)
        + f"<p>Boards judged right by the first alone: {split.only_first_right}; by the second alone: "
        f"{split.only_second_right}; McNemar's exact p {split.p:.3g}.</p>"
    )


def _beside(figures: Figures, one: Comparison) -> str:
    """Write classes and verdicts of both models beside each other; a dash for a class that one does not know."""
    sides = [{each.label: each for each in classes} for classes in (figures.classes, one.second_classes)]
    classes = []
    for label in dict.fromkeys(label for side in sides for label in side):
        row = [escape(label), str(next(side[label].truths for side in sides if label in side))]
        pair = [side.get(label) for side in sides]
        row += [DASH if each is None else _percent(each.ap.value) for each in pair]
        row += [DASH if each is None else f"{each.found.events} of {each.found.n}" for each in pair]
        row += [DASH if each is None else str(each.false_calls) for each in pair]
        classes.append(row)
    head = ["class", "true", *(f"{what}, {side}" for what in ("AP", "found", "false calls") for side in SIDES)]
    both = figures.rates, one.second_rates
    verdicts = [
        [f"{name}: {side}", *_rate("", rate)[1:]]
        for name, rates in (
            ("escapes", [rates.escapes for rates in both]),
            ("false calls", [rates.false_calls for rates in both]),
            ("reviews", [rates.reviews for rates in both]),
        )
        for side, rate in zip(SIDES, rates, strict=True)
    ]
    return _table("Each model's classes, found and false calls at its thresholds.", head, classes) + _table(
        "Each model's verdicts on boards.", ["", "boards", "rate", "upper bound"], verdicts
    )


def _mistakes(title: str, shown: Sequence[Shown]) -> str:
    """Show mistakes: picture and template around each."""
    if not shown:
        return f"<h2>{title}</h2><p>None.</p>"
    entries = "".join(
        f'<figure><img src="{source}" alt="{escape(words, quote=True)}; left the picture, right its template">'
        f"<figcaption>{escape(words)}</figcaption></figure>"
        for words, source in shown
    )
    return f'<h2>{title}</h2><div class="mistakes">{entries}</div>'


def _origin(origin: Origin) -> str:
    """Say what was measured on what."""
    model = origin.model
    rows = [
        ["command", f"<code>{escape(origin.command)}</code>"],
        ["model", f"<code>{escape(model.model_id)}</code>, weights <code>{model.weights_sha256}</code>"],
        ["learned from", escape("; ".join(origin.learned_from))],
        ["engine", escape(f"{model.engine}, {model.precision}, {model.device}")],
        ["data set", f"{escape(origin.dataset)}, <code>{origin.dataset_sha256}</code>"],
        ["product", f"{escape(origin.product)}, settings <code>{origin.config_sha256}</code>"],
        ["thresholds", escape(", ".join(f"{label} {at:g}" for label, at in origin.thresholds.items()))],
        ["resampling seed", str(origin.seed)],
    ]
    note = "Pictures on this page belong to the data set: its licence says who may see and copy them."
    return (
        "<h2>Origin</h2>" + _table("What it takes to measure this again.", ["", ""], rows) + f"<p class=note>{note}</p>"
    )
