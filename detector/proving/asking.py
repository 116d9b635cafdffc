"""Asks the reference about simulated boards, in worker processes where there are many."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detector.engines import Channels, RawDetections
from detector.judge import findings, judge
from detector.model import core
from detector.proving.parity import Answer
from detector.proving.proof_boards import draw
from detector.registry import LoadedModel, load_model
from detector.scale import Scale
from detector.scores import Scores, open_scores
from taktwatch.config import ClassConfig, LineConfig, ProductConfig
from taktwatch.records import ModelRef

__all__ = ["Asker", "Drawn", "drawn_all", "picture_sha256", "reference", "references"]

WORKER_BOARDS, MOST_WORKERS = 100, 8
"""Starting a worker process pays from so many boards on."""


@dataclass(frozen=True, eq=False, slots=True)
class Drawn:
    """Boards of one product as the network sees them, and what the reference says of each."""

    channels: tuple[Channels, ...]
    expected: tuple[Answer, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Asker:
    """Turns what is found in a board into an answer, by the rules of a product: those of the line, with its scores."""

    model: LoadedModel
    name: str
    product: ProductConfig

    @classmethod
    def of(cls, config: LineConfig, model: LoadedModel) -> "Asker":
        """Take the rules of the line's first product with this model; where there is none, default thresholds."""
        for name, product in config.products.items():
            if product.model == model.card.name and product.classes:
                return cls(model, name, product)
        classes = {label: ClassConfig() for label in model.spec.classes}
        product = ProductConfig(view=model.spec.view, model=model.card.name, um_per_px=20.0, classes=classes)
        return cls(model, "", product)

    @property
    def reference(self) -> ModelRef:
        """The name of the network itself."""
        card = self.model.card
        engine = f"torch {torch.__version__.split('+')[0]}"
        return ModelRef(
            name=card.name,
            model_id=card.model_id,
            weights_sha256=card.weights_sha256,
            engine=engine,
            precision="float32",
            device="cpu",
        )

    def scores(self, ref: ModelRef) -> Scores:
        """Return the thresholds as the line would have them on an engine. Raises `ModelError`."""
        folder = self.model.folder
        return Scores(self.product) if folder is None else open_scores(folder, ref, self.name, self.product)

    def answer(self, raw: RawDetections, number: int, channels: Channels, scores: Scores) -> Answer:
        """Judge one board and keep what is compared."""
        height, width = channels.shape[1:]
        found = findings(raw, self.model.spec, scores, height, width)
        scale = Scale.square(self.product.um_per_px)
        verdict = judge(found, self.product, scale=scale, height=height, width=width).verdict
        return Answer.of(raw, verdict, (height, width), board=number, picture_sha256=picture_sha256(channels))

    def drawn(self, known: Mapping[int, Answer | None]) -> Drawn:
        """Draw boards by number and ask the reference, but where its answer to that very picture is known."""
        pictures = {number: draw(self.model.spec, number) for number in known}
        ready = {
            number: answer
            for number, answer in known.items()
            if answer is not None and answer.picture_sha256 == picture_sha256(pictures[number])
        }
        wanted, scores = [number for number in known if number not in ready], self.scores(self.reference)
        for number, raw in zip(wanted, references(self.model, [pictures[number] for number in wanted]), strict=True):
            ready[number] = self.answer(raw, number, pictures[number], scores)
        return Drawn(tuple(pictures.values()), tuple(ready[number] for number in known))


def reference(model: LoadedModel, channels: Channels) -> RawDetections:
    """Return what the network itself says of one picture: torch, float32, uncut."""
    return references(model, [channels])[0]


@torch.inference_mode()
def references(model: LoadedModel, pictures: Sequence[Channels]) -> list[RawDetections]:
    """Return what the network itself says of pictures of one size."""
    if not pictures:
        return []
    together = torch.from_numpy(np.stack(pictures)).contiguous(memory_format=torch.channels_last)
    return [
        RawDetections(**{name: found[name].numpy() for name in ("boxes", "labels", "scores", "masks")})
        for found in core(model.network, together)
    ]


def drawn_all(asker: Asker, wanted: Sequence[Mapping[int, Answer | None]], threads: int) -> Iterator[Drawn]:
    """Draw products in their order, each with what is known of its boards; `threads` 0: a worker for each core."""
    folder = asker.model.folder
    if folder is None or sum(map(len, wanted)) < WORKER_BOARDS:
        yield from map(asker.drawn, wanted)
        return
    workers = min(threads or len(os.sched_getaffinity(0)), MOST_WORKERS)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        workers, context, initializer=_start_worker, initargs=(folder, asker.name, asker.product)
    )
    try:
        ahead: deque[Future[Drawn]] = deque()
        for known in wanted:
            ahead.append(pool.submit(_drawn_by_worker, known))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


_at_work: list[Asker] = []
"""The one asker of a worker process."""


def _start_worker(folder: Path, name: str, product: ProductConfig) -> None:
    """Load the model once in a worker process, which leaves it to its parent to be interrupted, and goes with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _at_work.append(Asker(load_model(folder), name, product))


def _end_with_parent() -> None:
    """End this process when its parent is gone, however that was ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _drawn_by_worker(known: Mapping[int, Answer | None]) -> Drawn:
    """Draw one product's boards in a worker process."""
    return _at_work[0].drawn(known)


def picture_sha256(channels: Channels) -> str:
    """Name a picture by its bytes."""
    return hashlib.sha256(channels.tobytes()).hexdigest()
