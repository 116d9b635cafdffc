"""Compares engines with the reference on simulated boards, and keeps the proof beside the export.

What the reference and each engine said is kept as it is said (`answers`): an interrupted comparison goes on
where it was, and the next engine finds the reference's answers ready. Worker processes draw boards and ask the
reference; the engines run here, as they run on a line: the first board of each product alone, the others as a batch.
"""

from collections.abc import Callable, Iterable, Sequence

import torch

from detector.engines import Channels, Engine
from detector.engines.exported import model_exports
from detector.proving.answers import AnswerLog
from detector.proving.asking import Asker, drawn_all, picture_sha256
from detector.proving.choose import build_engine
from detector.proving.parity import Answer, Parity, compare, summed
from detector.proving.proof_boards import draw, products
from detector.proving.proofs import Subject, name_of, proof_path, subject_of
from detector.registry import LoadedModel
from taktwatch import __version__
from taktwatch.config import EngineName, LineConfig

__all__ = ["drift", "verify"]


def verify(
    config: LineConfig,
    model: LoadedModel,
    names: Sequence[EngineName],
    *,
    boards: int,
    on_boards: Callable[[int], None],
) -> dict[EngineName, Parity]:
    """Compare engines with the reference on so many boards; writes each proof, whatever it says, and returns them.

    `on_boards` hears how many boards are done; those of an earlier run at once. Raises `ConfigError`, `ModelError` for
    an engine that cannot be built.
    """
    engines = {name: build_engine(model, name, config.detector) for name in names}
    asker = Asker.of(config, model)
    folder = model_exports(model.card, config.detector.engines_dir) / "answers"
    basis = _basis(asker)
    subjects = {name: subject_of(engine, config.detector.engines_dir) for name, engine in engines.items()}
    said_by = {
        name: AnswerLog(folder, name, _key(asker, basis, engine, subjects[name])) for name, engine in engines.items()
    }
    expected = AnswerLog(folder, "reference", basis)
    chunks = list(products(boards))
    open_chunks = [chunk for chunk in chunks if not all(_agreed(chunk, expected, log) for log in said_by.values())]
    on_boards(boards - sum(map(len, open_chunks)))
    wanted = [{number: expected.known.get(number) for number in chunk} for chunk in open_chunks]
    for chunk, drawn in zip(open_chunks, drawn_all(asker, wanted, config.detector.threads), strict=True):
        expected.add(one for one in drawn.expected if expected.known.get(one.board) != one)
        for name, engine in engines.items():
            if not _agreed(chunk, expected, said_by[name]):
                said_by[name].add(_said(asker, engine, chunk, drawn.channels))
        on_boards(len(chunk))
    measured = {}
    for name, engine in engines.items():
        pairs = [(expected.known[number], said_by[name].known[number]) for chunk in chunks for number in chunk]
        agreements = [compare(*pair, floor=model.spec.score_floor) for pair in pairs]
        if (subject := subjects[name]) is None:
            measured[name] = summed(agreements, engine.ref)
            continue
        measured[name] = summed(agreements, engine.ref, subject.sha256, subject.recipe_sha256)
        subject.folder.mkdir(parents=True, exist_ok=True)
        path = proof_path(subject, name_of(engine.ref))
        path.write_text(measured[name].model_dump_json(indent=2) + "\n", encoding="utf-8")
    return measured


def drift(
    config: LineConfig, model: LoadedModel, engine: Engine, *, boards: int, on_boards: Callable[[int], None]
) -> Parity:
    """Compare the very engine that is to run with the reference on the first golden boards, now."""
    asker = Asker.of(config, model)
    agreements = []
    for chunk in products(boards):
        drawn = asker.drawn(dict.fromkeys(chunk))
        said = _said(asker, engine, chunk, drawn.channels)
        agreements += [compare(*pair, floor=model.spec.score_floor) for pair in zip(drawn.expected, said, strict=True)]
        on_boards(len(chunk))
    return summed(agreements, engine.ref)


def _said(asker: Asker, engine: Engine, chunk: range, channels: Sequence[Channels]) -> list[Answer]:
    """Ask an engine about one product's boards: the first alone, the others as a batch."""
    alone, *others = channels
    raws = engine.infer([alone]) + (engine.infer(others) if others else [])
    scores = asker.scores(engine.ref)
    return [asker.answer(*one, scores) for one in zip(raws, chunk, channels, strict=True)]


def _agreed(chunk: Iterable[int], expected: AnswerLog, said: AnswerLog) -> bool:
    """Whether reference and engine have both answered to the same pictures."""
    return all(
        number in expected.known
        and number in said.known
        and expected.known[number].picture_sha256 == said.known[number].picture_sha256
        for number in chunk
    )


def _basis(asker: Asker) -> list[str]:
    """Name what the reference's answers depend on: model, rules, pictures (the first product's stand for all)."""
    shown = [picture_sha256(draw(asker.model.spec, number)) for number in next(products(1))]
    card = asker.model.card
    rules = [asker.product.model_dump_json(), asker.scores(asker.reference).sha256]
    return [card.model_id, *rules, *shown, __version__, str(torch.__version__)]


def _key(asker: Asker, basis: Sequence[str], engine: Engine, subject: Subject | None) -> list[str]:
    """Name what an engine's answers depend on."""
    ref = engine.ref
    scores = asker.scores(ref).sha256
    return [*basis, scores, ref.engine, ref.precision, ref.device, "" if subject is None else subject.sha256]
