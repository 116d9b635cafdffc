"""Calibrates a model's scores: validation boards in, calibration.json beside the model out."""

from collections.abc import Callable, Sequence

from detector.evaluation.calibration import calibrate
from detector.evaluation.labelled import Dataset
from detector.evaluation.outcomes import Outcome
from detector.evaluation.runner import Runner, choose_product, model_folder, with_engine
from detector.evaluation.simulated import parse_simulated
from detector.scores import Calibration, Costs, save_calibration
from taktwatch.config import LineConfig
from taktwatch.errors import BadInput

__all__ = ["calibrate_model"]


def calibrate_model(
    config: LineConfig,
    model: str,
    data: Dataset,
    *,
    engines: Sequence[str],
    product: str | None = None,
    on_board: Callable[[], None] = lambda: None,
) -> list[Calibration]:
    """Show validation boards to a model on each engine and write what its scores are worth on them.

    Boards are weighted to the product's expected defect rate, thresholds cost least by its two costs. `on_board` is
    called after each board. Raises what `evaluate` raises, and `BadInput` for a set without good or without defective
    boards, or of the style held out for testing.
    """
    if data.kind == "sim" and parse_simulated(data.name).style == "held-out":
        raise BadInput(f"{data.name}: this style is held out for testing; calibrate on plain or varied boards")
    name = choose_product(config, data, product)
    folder = model_folder(config, model)
    runners = [Runner(with_engine(config, engine), folder, name) for engine in engines]
    for runner in runners:
        runner.check(data)
    seen: list[list[Outcome]] = [[] for _ in runners]
    for item in data.items:
        labelled = item.load()
        for outcomes, runner in zip(seen, runners, strict=True):
            outcomes.append(runner.inspect(item, labelled))
        on_board()
    made = [learnt(runner, outcomes, data, name) for runner, outcomes in zip(runners, seen, strict=True)]
    save_calibration(folder, made)
    return made


def learnt(runner: Runner, outcomes: Sequence[Outcome], data: Dataset, name: str) -> Calibration:
    """Calibrate one model on one engine."""
    product = runner.product
    labels = [label for label in runner.model.spec.classes if label in product.classes]
    return calibrate(
        outcomes,
        labels,
        model=runner.engine.ref,
        domain=product.domain or name,
        dataset=data.name,
        dataset_sha256=data.sha256,
        expected_defect_rate=product.expected_defect_rate,
        stops=product.view == "board",
        costs=Costs(escape=product.costs.escape, false_call=product.costs.false_call),
    )
