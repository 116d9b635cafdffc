"""What the command line prints of an evaluation and of a measurement study: tables for people."""

from rich.console import Console
from rich.table import Table

from detector.evaluation.agreement import Agreement
from detector.evaluation.figures import Known
from detector.evaluation.gauge import Gauge
from detector.evaluation.msa import Study
from detector.evaluation.report import Report
from detector.intervals import Estimate, Rate

__all__ = ["print_report", "print_study"]


def print_report(console: Console, report: Report) -> None:
    """Print the headline, the verdicts, and how two models differ."""
    figures, head = report.figures, report.figures.headline
    counted = f"{figures.pictures} pictures of {figures.boards} boards"
    title = f"{report.origin.model.model_id} on {report.origin.dataset}: {counted}"
    table = _table(title, "IoU > 0.33", "value", "other pictures", "other boards")
    for name, known in (
        ("AP, pooled", head.ap),
        ("AP, mean of classes", head.mean_ap),
        ("F at the product's thresholds", head.f_reported),
        ("F at the validation threshold", head.f_validation),
        (f"best F (at {head.best_f_threshold:.3f})", head.best_f),
        ("AP at IoU 0.75, pooled", head.ap75),
    ):
        if known is not None:
            table.add_row(name, *_known(known))
    for name, value in (("box mAP 0.50:0.95", figures.coco_box.map), ("mask mAP 0.50:0.95", figures.coco_mask.map)):
        table.add_row(name, _share(value), "", "")
    console.print(table)
    classes = _table("Classes", "class", "true", "AP", "other pictures", "found", "false calls")
    for one in figures.classes:
        found = f"{one.found.events} of {one.found.n}"
        ap = one.ap.pictures
        classes.add_row(one.label, str(one.truths), _share(ap.value), _between(ap), found, str(one.false_calls))
    console.print(classes)
    rates = figures.rates
    for name, rate in (("Escapes", rates.escapes), ("False calls", rates.false_calls), ("Reviews", rates.reviews)):
        console.print(f"{name}: {_rate(rate)}", highlight=False)
    pod = figures.detectability
    if pod.a90_um is not None:
        bound = "not bounded" if pod.a90_95_um is None else f"{pod.a90_95_um:.0f} um"
        console.print(f"Found nine times in ten from {pod.a90_um:.0f} um on (a90/95: {bound})", highlight=False)
    else:
        console.print(f"No a90: {pod.why_not}", highlight=False)
    if report.comparison is not None:
        versus = report.comparison
        table = _table(f"{versus.first} minus {versus.second}", "", "difference", "other pictures", "other boards")
        table.add_row("AP, pooled", *_known(versus.ap))
        table.add_row("best F", *_known(versus.best_f))
        console.print(table)
        second = versus.second_rates
        for name, rate in (("Escapes", second.escapes), ("False calls", second.false_calls)):
            console.print(f"{name} of the second: {_rate(rate)}", highlight=False)


def print_study(console: Console, study: Study) -> None:
    """Print an agreement, or a gauge study for each quantity."""
    if study.agreement is not None:
        _print_agreement(console, study.agreement)
    for gauge in study.gauges:
        _print_gauge(console, gauge)


def _print_agreement(console: Console, one: Agreement) -> None:
    """Print kappas."""
    title = f"{one.parts} parts, {len(one.appraisers)} appraisers, categories {', '.join(one.categories)}"
    table = _table(title, "agreement", "equal", "kappa", "95 %")
    for own in one.within:
        table.add_row(f"{own.appraiser}, again", f"{own.parts.events} of {own.parts.n} parts", *_kappa(own.kappa))
    for pair in (*one.between, *one.against_reference):
        table.add_row(f"{pair.first} and {pair.second}", f"{pair.equal:.1%} of {pair.readings}", *_kappa(pair.kappa))
    if one.fleiss is not None:
        same = f"{one.everybody.events} of {one.everybody.n} parts"
        table.add_row("all together (Fleiss)", same, *_kappa(one.fleiss))
    console.print(table)
    if not one.within:
        console.print("Everybody read once: how far anyone agrees with themselves is not known")
    if one.right is not None:
        console.print(f"All right every time: {_rate(one.right)}", highlight=False)


def _print_gauge(console: Console, gauge: Gauge) -> None:
    """Print a gauge study."""
    counted = f"{gauge.parts} parts, {gauge.appraisers} appraisers, {gauge.trials} trials"
    anova = _table(f"{gauge.quantity}: {counted}", "source", "df", "SS", "MS", "F", "p")
    for row in gauge.anova:
        test = ("", "") if row.f is None or row.p is None else (f"{row.f:.2f}", f"{row.p:.4f}")
        anova.add_row(row.source, str(row.df), f"{row.ss:.5g}", f"{row.ms:.5g}", *test)
    console.print(anova)
    if gauge.pooled:
        console.print("Appraiser by part: p above 0.25, pooled with repeatability")
    table = _table("", "source", "sigma", "95 %", "% study", "95 %", "% tolerance")
    for part in gauge.components:
        sigma, share, tolerance = part.sigma, part.study_share, part.tolerance_share
        among = "" if sigma.low is None or sigma.high is None else f"{sigma.low:.4g} to {sigma.high:.4g}"
        width = "" if tolerance is None else _share(tolerance.value)
        table.add_row(part.name, f"{sigma.value:.4g}", among, _share(share.value), _between(share), width)
    console.print(table)
    console.print(f"Distinct categories: {gauge.ndc} ({gauge.ndc_exact.words})", highlight=False)


def _table(title: str, first: str, *columns: str) -> Table:
    """Return a table, its first column in words."""
    table = Table(title=title or None, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _known(known: Known) -> tuple[str, str, str]:
    """Write a figure and both intervals."""
    return _share(known.value), _between(known.pictures), _between(known.boards)


def _share(value: float | None) -> str:
    """Write a share in percent."""
    return "not known" if value is None else f"{100 * value:.2f} %"


def _between(estimate: Estimate) -> str:
    """Write an interval in percent."""
    if estimate.low is None or estimate.high is None:
        return "too few" if estimate.value is not None else ""
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f} %"


def _kappa(estimate: Estimate) -> tuple[str, str]:
    """Write a kappa and its interval."""
    if estimate.value is None:
        return "", ""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}", "too few parts"
    return f"{estimate.value:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}"


def _rate(rate: Rate) -> str:
    """Write a rate with its bound."""
    if not rate.n:
        return "not measured, no such board here"
    return f"{rate.events} of {rate.n}, {_share(rate.value)}, upper 95 % bound {100 * rate.upper:.2f} %"
