"""What `taktwatch models` prints: tables for people."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from detector.cards import licence_faults
from detector.proving.bench import Pace
from detector.proving.parity import Parity, shortfalls
from detector.registry import ModelCard
from detector.scores import Calibration
from detector.screening import Screening

__all__ = ["print_calibrations", "print_model", "print_models", "print_paces", "print_parity", "print_screenings"]


def print_models(console: Console, cards: Sequence[ModelCard]) -> None:
    """Print one line a model, its name in full; a console too narrow for all cuts off at the right."""
    table = Table(box=None, pad_edge=False)
    table.add_column("model", overflow="fold", min_width=max((len(card.name) for card in cards), default=0))
    for name in ("view", "size", "AP at IoU 0.33", "licence", "commercial use", "weights"):
        table.add_column(name, overflow="fold")
    for card in cards:
        table.add_row(
            card.name,
            card.spec.view,
            f"{card.parameters / 1e6:.1f} M",
            f"{card.metrics['ap33']:.3f}" if "ap33" in card.metrics else "",
            card.licence,
            _yes(card.commercial_use),
            card.weights_sha256[:12],
        )
    console.print(table)


def print_model(
    console: Console, card: ModelCard, proofs: Mapping[str, Parity], shipped: Sequence[Parity] = ()
) -> None:
    """Print a card's facts, what was measured of the model's engines here, and which proofs were shipped with it."""
    table = Table(show_header=False, title=card.model_id, title_justify="left")
    for name, value in (
        ("view", card.spec.view),
        ("sees", card.spec.input),
        ("classes", ", ".join(card.spec.classes)),
        ("backbone", f"{card.spec.backbone}, {card.spec.levels} levels, {card.parameters:,} parameters"),
        ("licence", card.licence),
        ("commercial use", "yes" if card.commercial_use else f"no: {licence_faults(card)[0]}"),
        ("learned from", "; ".join(f"{source.name} ({source.licence})" for source in card.training_data)),
        ("starting weights", card.ancestry),
        *(("descends from", f"{parent.model_id}, weights {parent.weights_sha256}") for parent in card.parents),
        ("weights SHA-256", card.weights_sha256),
        ("trained", f"{card.trained_at} with {card.trained_with}"),
        ("command", card.command),
        *((name, f"{value:.4g}") for name, value in card.metrics.items() if "/" not in name),
    ):
        table.add_row(name, value)
    console.print(table)
    for name, parity in proofs.items():
        console.print(f"[bold]{name}[/bold]: {_verdict(parity)}", highlight=False)
    for parity in shipped:
        name = f"{parity.engine} {parity.precision}, {parity.device}"
        console.print(f"[bold]{name}[/bold] (shipped): {_verdict(parity)}", highlight=False)
    if not proofs and not shipped:
        console.print("No engine but torch was verified here yet: taktwatch models verify MODEL --engine ENGINE")


def print_parity(console: Console, parity: Parity) -> None:
    """Print how an engine compares with the reference."""
    table = Table(show_header=False, title=f"{parity.engine} {parity.precision}, {parity.device}", title_justify="left")
    for name, value in (
        ("model", parity.model_id),
        ("boards", f"{parity.boards}, of which the reference fails {parity.failed}"),
        ("detections matched", f"{parity.detections}, without a partner {parity.unmatched}"),
        ("score difference", f"{parity.score:.2g} for {parity.almost_all:.1%}, at most {parity.score_most:.2g}"),
        ("area difference", f"{parity.area:.2%} for {parity.almost_all:.1%}, at most {parity.area_most:.2%}"),
        ("fail to pass", f"{parity.to_pass} boards, below {parity.to_pass_upper:.3%} with 95 % confidence"),
        ("pass to fail", f"{parity.to_fail} boards"),
    ):
        table.add_row(name, value)
    console.print(table)
    console.print(_verdict(parity), highlight=False)


def print_calibrations(console: Console, calibrations: Sequence[Calibration]) -> None:
    """Print what was learnt of scores: per class the threshold, and what a detection at it and well above is worth."""
    for one in calibrations:
        each = "limits decide" if one.expected_cost is None else f"{one.expected_cost:.4f} a board"
        costs = f"an escape costs {one.costs.escape:g}, a false call {one.costs.false_call:g}: {each}"
        console.print(
            f"{one.model_id} on {one.engine} {one.precision}, pictures {one.domain!r}: {one.good_boards} good and "
            f"{one.defective_boards} defective boards of {one.dataset}; {one.expected_defect_rate:.1%} of boards taken "
            f"to be defective, {costs}",
            highlight=False,
            soft_wrap=True,
        )
        table = Table(
            "class", "threshold", "chance there", "chance at 0.9", "detections", "right", title_justify="left"
        )
        for label, known in one.classes.items():
            chances = (f"{known.chance(score):.2f}" for score in (known.threshold, 0.9))
            table.add_row(label, f"{known.threshold:.3f}", *chances, str(known.n), str(known.right))
        console.print(table)


def print_screenings(console: Console, screenings: Sequence[Screening], limit: float | None = None) -> None:
    """Print what screens miss, and whether that is within a product's `limit`."""
    for one in screenings:
        console.print(
            f"Screen of {one.model_id} on {one.engine} {one.precision}, pictures {one.domain!r}: misses {one.missed} "
            f"of {one.defects} defects on {one.pictures} pictures of {one.dataset}, fewer than {one.upper:.2%} with "
            f"95 % confidence ({one.uncovered} in no crop, {one.lost} no longer reported). The network sees "
            f"{one.seen:.1%} of all pixels, nothing of {one.unasked} pictures, {one.whole} whole. Threshold "
            f"{one.threshold:g}, chosen on {one.chosen_on} defects of other boards.",
            highlight=False,
            soft_wrap=True,
        )
        if limit is not None:
            words = "on" if one.upper <= limit else "off"
            console.print(f'Allowed: {limit:.2%}; screen = "auto" is {words}', highlight=False, soft_wrap=True)


def print_paces(console: Console, paces: Sequence[Pace], where: str, batch: int) -> None:
    """Print a race; ratios are against the first, turn by turn."""
    table = Table("engine", title=where, title_justify="left")
    names = ("p50 ms", "p95 ms", "p99 ms", "CPU ms", "cores", "alone /s", f"batch of {batch} /s")
    for name in (*names, "ratio", "batch ratio", "CPU ratio"):
        table.add_column(name, justify="right")
    for pace in paces:
        figures = (pace.p50_ms, pace.p95_ms, pace.p99_ms, pace.cpu_ms, pace.cores, pace.alone_per_s, pace.batch_per_s)
        ratios = (pace.ratio, pace.batch_ratio, pace.cpu_ratio)
        table.add_row(pace.name, *(f"{value:.1f}" for value in figures), *(f"{value:.2f}x" for value in ratios))
    console.print(table)


def _verdict(parity: Parity) -> str:
    """Say whether a line may run it."""
    if words := shortfalls(parity):
        return f"[red]not to be used: {'; '.join(words)}[/red]"
    if parity.is_reference:
        return "[green]the reference's own arithmetic: a line may run it without a proof[/green]"
    return "[green]proven: a line may run it[/green]"


def _yes(answer: bool) -> str:  # noqa: FBT001 - the one thing it is about
    """Write yes or no."""
    return "yes" if answer else "no"
