"""Evaluates a model: pictures in, a report with figures, page and outcomes out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from detector.evaluation.compare import compare
from detector.evaluation.datasets import open_dataset
from detector.evaluation.figures import Scored, score
from detector.evaluation.labelled import Dataset
from detector.evaluation.outcomes import Outcome
from detector.evaluation.page import Shown, page
from detector.evaluation.report import Origin, Report
from detector.evaluation.runner import Runner, choose_product, model_folder, with_engine
from detector.evaluation.worst import Mistake, picture_of, worst_false_calls, worst_misses
from detector.scores import family
from taktwatch.config import LineConfig
from taktwatch.errors import ConfigError

__all__ = ["Progress", "evaluate", "read_outcomes"]

Progress = Callable[[str, int, int], None]
"""Called with a model's name, pictures done, and pictures in all."""

MISTAKES = 12
SEED = 0
PAGE, METRICS, OUTCOMES = "report.html", "metrics.json", "outcomes.json"


@dataclass(frozen=True, eq=False, slots=True)
class Evaluated:
    """One model's outcomes and what they amount to."""

    runner: Runner
    outcomes: list[Outcome]
    scored: Scored


def evaluate(
    config: LineConfig,
    model: str,
    dataset: str,
    out: Path,
    *,
    against: str | None = None,
    engine: str | None = None,
    against_engine: str | None = None,
    product: str | None = None,
    seed: int = SEED,
    on_progress: Progress = lambda _name, _done, _total: None,
) -> Report:
    """Evaluate a model (folder, or name in the models folder) on a data set, and compare it with another.

    Engines are the line's where none is named; a model may be compared with itself on another. Writes `report.html`,
    `metrics.json` and `outcomes.json` into `out`. Everything that can be wrong with the data set, product or models is
    refused before the first picture: `BadInput`, `ConfigError`, `ModelError`, `UnknownProduct`.
    """
    data = open_dataset(dataset)
    name = choose_product(config, data, product)
    if against is None and against_engine is not None:
        against = model
    runners = [
        Runner(config if on is None else with_engine(config, on), model_folder(config, one), name)
        for one, on in ((model, engine), (against, against_engine))
        if one is not None
    ]
    for runner in runners:
        runner.check(data)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write into {out}: {error.strerror}; give another with --out") from error
    done = [_run(runner, data, seed, on_progress) for runner in runners]
    first = done[0]
    comparison = None
    if len(done) > 1:
        names = [each.runner.engine.ref.model_id for each in done]
        if len(set(names)) == 1:
            names = [f"{names[0]} on {_engine_name(each.runner)}" for each in done]
        one, other = ((called, each.outcomes, each.scored) for called, each in zip(names, done, strict=True))
        comparison = compare(one, other, seed=seed)
    options = {"--engine": engine, "--against": against, "--against-engine": against_engine}
    words = f"taktwatch evaluate {model} --dataset {dataset} --product {name}"
    origin = Origin(
        model=first.runner.ref,
        dataset=data.name,
        dataset_sha256=data.sha256,
        product=name,
        config_sha256=config.product_sha256(name),
        thresholds=first.runner.scores.thresholds,
        seed=seed,
        command=" ".join([words, *(f"{option} {value}" for option, value in options.items() if value is not None)]),
        learned_from=tuple(source.name for source in first.runner.model.card.training_data),
    )
    report = Report(origin=origin, figures=first.scored.figures, comparison=comparison, page=PAGE)
    _write(out, report, first, data)
    return report


def read_outcomes(path: Path) -> list[Outcome]:
    """Read `outcomes.json` back."""
    return msgspec.json.decode(path.read_bytes(), type=list[Outcome])


def _engine_name(runner: Runner) -> str:
    """Name the engine a model runs on."""
    return f"{family(runner.engine.ref.engine)} {runner.engine.ref.precision}"


def _run(runner: Runner, data: Dataset, seed: int, on_progress: Progress) -> Evaluated:
    """Show all pictures to one model and score what it said."""
    card = runner.model.card
    outcomes: list[Outcome] = []
    on_progress(card.name, 0, len(data.items))
    for outcome in runner.run(data):
        outcomes.append(outcome)
        on_progress(card.name, len(outcomes), len(data.items))
    labels = [label for label in runner.product.classes if label in runner.model.spec.classes]
    return Evaluated(
        runner, outcomes, score(outcomes, labels, f_threshold=card.metrics.get("f33_threshold"), seed=seed)
    )


def _write(out: Path, report: Report, first: Evaluated, data: Dataset) -> None:
    """Write the files of a report; the metrics go last."""

    def shown(mistakes: list[Mistake]) -> list[Shown]:
        return [(f"{data.items[one.picture].name}: {one.words}", picture_of(one, data)) for one in mistakes]

    pairings = first.scored.pairings
    misses = shown(worst_misses(first.outcomes, pairings, MISTAKES))
    false_calls = shown(worst_false_calls(first.outcomes, pairings, MISTAKES))
    (out / OUTCOMES).write_bytes(msgspec.json.encode(first.outcomes))
    (out / PAGE).write_text(page(report, first.scored.pools, misses, false_calls), encoding="utf-8")
    (out / METRICS).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
