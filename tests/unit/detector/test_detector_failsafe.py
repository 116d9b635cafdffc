"""An engine that fails loses no frame. The engine is real torch on a tiny network; its failures are torch's own."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from tiny_model import TINY, card

from detector.engines import Channels, RawDetections
from detector.engines.torch_engine import TorchEngine
from detector.failsafe import SafeEngine
from detector.model import build_model
from detector.registry import LoadedModel
from taktwatch.errors import EngineFailed

Fault = Callable[[Sequence[Channels]], None]


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    torch.manual_seed(5)
    return LoadedModel(card(TINY), build_model(TINY).eval())


class FaultyEngine(TorchEngine):
    """The torch engine on a device that has faults."""

    def __init__(self, model: LoadedModel, fault: Fault) -> None:
        super().__init__(model, device="cpu", threads=1)
        self.fault, self.asked = fault, []

    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        self.asked.append(len(batch))
        self.fault(batch)
        return super().infer(batch)


def memory_for(most: int) -> Fault:
    def fault(batch: Sequence[Channels]) -> None:
        if len(batch) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    return fault


def gone(_: Sequence[Channels]) -> None:
    raise RuntimeError("CUDA error: device is lost\nCompile with TORCH_USE_CUDA_DSA")


def pictures(count: int) -> list[Channels]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal((3, 64, 64)).astype(np.float32) for _ in range(count)]


def equal(found: list[RawDetections], expected: list[RawDetections]) -> bool:
    return len(found) == len(expected) and all(
        np.allclose(one.boxes, other.boxes, atol=1e-3) and one.labels.tolist() == other.labels.tolist()
        for one, other in zip(found, expected, strict=True)
    )


def test_a_batch_too_large_for_the_memory_is_halved_until_it_fits_and_stays_so(model: LoadedModel) -> None:
    engine, said = FaultyEngine(model, memory_for(2)), []
    safe = SafeEngine(engine, None, said.append)
    batch = pictures(8)
    expected = TorchEngine(model, device="cpu").infer(batch)
    assert equal(safe.infer(batch), expected)
    assert engine.asked == [8, 4, 2, 2, 2, 2]
    assert equal(safe.infer(batch[:4]), expected[:4])
    assert engine.asked[6:] == [2, 2]
    assert [line.partition(" ran ")[2] for line in said] == [
        "out of memory with 8 pictures, goes on with 4 at once",
        "out of memory with 4 pictures, goes on with 2 at once",
    ]


def test_a_device_without_memory_for_one_picture_gives_way_to_its_spare(model: LoadedModel) -> None:
    engine, said = FaultyEngine(model, memory_for(0)), []
    safe = SafeEngine(engine, lambda: TorchEngine(model, device="cpu"), said.append)
    batch = pictures(4)
    assert equal(safe.infer(batch), TorchEngine(model, device="cpu").infer(batch))
    assert engine.asked == [4, 2, 1]
    assert "goes on with torch" in said[-1]
    assert "until the detector is restarted" in said[-1]
    safe.infer(batch)
    assert engine.asked == [4, 2, 1]


def test_a_device_that_vanishes_gives_way_to_its_spare_at_once(model: LoadedModel) -> None:
    engine, said = FaultyEngine(model, gone), []
    safe = SafeEngine(engine, lambda: TorchEngine(model, device="cpu"), said.append)
    batch = pictures(3)
    assert equal(safe.infer(batch), TorchEngine(model, device="cpu").infer(batch))
    assert engine.asked == [3]
    assert "failed (CUDA error: device is lost); tiny goes on with" in said[0]


def test_without_a_spare_the_failure_is_raised_in_one_line(model: LoadedModel) -> None:
    with pytest.raises(EngineFailed, match=r"^torch \S+ on cpu \S+ failed: CUDA error: device is lost$"):
        SafeEngine(FaultyEngine(model, gone)).infer(pictures(1))


def test_a_spare_that_fails_too_is_said_with_what_it_stood_in_for(model: LoadedModel) -> None:
    def absent() -> TorchEngine:
        raise OSError("no such file")

    with pytest.raises(EngineFailed, match=r"device is lost.*and so did its spare: no such file"):
        SafeEngine(FaultyEngine(model, gone), absent).infer(pictures(1))


def test_a_model_on_probation_is_not_helped_along(model: LoadedModel) -> None:
    safe = SafeEngine(FaultyEngine(model, memory_for(2)), lambda: TorchEngine(model, device="cpu"))
    safe.strict = True
    with pytest.raises(EngineFailed, match="out of memory"):
        safe.infer(pictures(4))


def test_answers_that_are_no_numbers_count_as_a_failure(model: LoadedModel) -> None:
    class Drifted(TorchEngine):
        def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
            found = super().infer(batch)
            for one in found:
                one.scores[:] = np.nan
            return found

    safe = SafeEngine(Drifted(model, device="cpu"), lambda: TorchEngine(model, device="cpu"))
    batch = pictures(1)
    assert equal(safe.infer(batch), TorchEngine(model, device="cpu").infer(batch))


def test_a_mistake_of_ours_is_raised_as_it_is(model: LoadedModel) -> None:
    def mistaken(_: Sequence[Channels]) -> None:
        raise TypeError("infer() takes pictures")

    with pytest.raises(TypeError):
        SafeEngine(FaultyEngine(model, mistaken), lambda: TorchEngine(model, device="cpu")).infer(pictures(1))
