"""An engine that loses no frame: when memory runs out the batch halves, when its device is gone the CPU goes on.

The seam is `Engine.infer`. What is believed to be the engine's failure, not ours: a `RuntimeError` (torch, OpenVINO and
CUDA raise it, `torch.OutOfMemoryError` among them), a `MemoryError`, and what ONNX Runtime raises.
"""

from collections.abc import Callable, Sequence

import numpy as np
import structlog
import torch

from detector.engines import BringsAhead, Channels, Engine, RawDetections
from detector.spec import ModelSpec
from taktwatch.errors import EngineFailed
from taktwatch.records import ModelRef

__all__ = ["SafeEngine", "is_engine_failure", "is_out_of_memory", "words_of"]

MEMORY_WORDS = ("out of memory", "failed to allocate", "bad_alloc", "cannot allocate")

log = structlog.get_logger()


def is_engine_failure(error: BaseException) -> bool:
    """Whether an engine or its device failed, rather than our code.

    >>> is_engine_failure(RuntimeError("CUDA error: device-side assert")), is_engine_failure(TypeError("infer()"))
    (True, False)
    """
    if isinstance(error, NotImplementedError | RecursionError):
        return False
    return isinstance(error, RuntimeError | MemoryError) or type(error).__module__.startswith("onnxruntime")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may do.

    >>> is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory")), is_out_of_memory(RuntimeError("CUDA error"))
    (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in MEMORY_WORDS)


class SafeEngine:
    """Runs `engine`, and `spare()` in its place once it failed a frame that was alone; `tell` hears of it in words.

    `batch_limit` is how many it takes at once since memory ran out. Without a spare, or where the spare fails, too,
    `EngineFailed` is raised. `strict` raises it at the first failure: a model on probation is not helped along.
    """

    def __init__(
        self, engine: Engine, spare: Callable[[], Engine] | None = None, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self.engine, self.spare, self.tell = engine, spare, tell
        self.batch_limit: int | None = None
        self.strict = False

    @property
    def spec(self) -> ModelSpec:
        """What the model is made of."""
        return self.engine.spec

    @property
    def ref(self) -> ModelRef:
        """How results name the model and what it runs on now."""
        return self.engine.ref

    def bring(self, picture: Channels) -> None:
        """Let the engine bring a picture to its device; where that fails, `infer` will find out, and help."""
        if isinstance(self.engine, BringsAhead):
            try:
                self.engine.bring(picture)
            except Exception as error:
                if not is_engine_failure(error):
                    raise

    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Inspect pictures of one size, each (3, H, W); all by the same engine. Raises `EngineFailed`."""
        while True:
            try:
                return self._in_pieces(batch)
            except Exception as error:
                if not is_engine_failure(error):
                    raise
                if not self.strict and self._smaller(error, len(batch)):
                    continue
                if self.strict or self.spare is None:
                    raise EngineFailed(f"{self.ref.engine} on {self.ref.device} failed: {words_of(error)}") from error
                self._change(error, self.spare)

    def _in_pieces(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Run a batch in pieces no larger than the limit."""
        size = min(self.batch_limit or len(batch), len(batch))
        found: list[RawDetections] = []
        for first in range(0, len(batch), size):
            found += self.engine.infer(batch[first : first + size])
        for one in found:
            if not (np.isfinite(one.boxes).all() and np.isfinite(one.scores).all()):
                raise RuntimeError("it answers with numbers that are none")
        return found

    def _smaller(self, error: BaseException, size: int) -> bool:
        """Halve the limit where memory ran out on more than one picture; say whether it is worth another try."""
        size = min(self.batch_limit or size, size)
        if not is_out_of_memory(error) or size == 1:
            return False
        self.batch_limit = size // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        ref = self.ref
        said = f"{ref.engine} on {ref.device} ran out of memory with {size} pictures, goes on with {size // 2} at once"
        log.warning(said, error=words_of(error))
        self.tell(said)
        return True

    def _change(self, error: BaseException, spare: Callable[[], Engine]) -> None:
        """Put the spare in its place, for as long as this process runs."""
        failed = self.ref
        try:
            self.engine = spare()
        except Exception as second:  # noqa: BLE001 - whatever it is, the frames are kept
            raise EngineFailed(
                f"{failed.engine} on {failed.device} failed ({words_of(error)}), and so did its spare: {second}"
            ) from error
        self.spare = self.batch_limit = None
        said = (
            f"{failed.engine} on {failed.device} failed ({words_of(error)}); {failed.name} goes on with "
            f"{self.ref.engine} on {self.ref.device} until the detector is restarted"
        )
        log.error(said)
        self.tell(said)


def words_of(error: BaseException) -> str:
    r"""Return an error's first line, or its name.

    >>> words_of(RuntimeError("CUDA error: unknown\nCompile with ..."))
    'CUDA error: unknown'
    """
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
