"""What torch does on a CUDA device, as far as it runs without one: packing, bringing pictures ahead, shortcuts."""

import gc
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tiny_model import TINY, card

from detector.engines import BringsAhead, Channels
from detector.engines.ahead import Ahead
from detector.engines.packing import packed, unpacked
from detector.engines.shortcuts import AFTER, MOST, Run, Shortcuts
from detector.engines.torch_engine import TorchEngine
from detector.failsafe import SafeEngine
from detector.model import build_model
from detector.proving.asking import reference
from detector.registry import LoadedModel

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    torch.manual_seed(5)
    return LoadedModel(card(TINY), build_model(TINY).eval().requires_grad_(requires_grad=False))


def picture(seed: int, height: int = 96, width: int = 128) -> Channels:
    return np.random.default_rng(seed).standard_normal((3, height, width)).astype(np.float32)


@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_what_is_packed_for_the_way_home_comes_out_as_it_was(counts: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    kept = [(torch.rand(n, 4) * 4096, torch.randint(1, 90, (n,)), torch.rand(n)) for n in counts]
    masks = torch.rand(sum(counts), 28, 28)
    found = unpacked(packed(kept, masks).numpy(), counts)
    assert len(found) == len(counts)
    for one, (boxes, labels, scores), share in zip(found, kept, masks.split(counts), strict=True):
        assert np.array_equal(one.boxes, boxes.numpy())
        assert np.array_equal(one.labels, labels.numpy())
        assert np.array_equal(one.scores, scores.numpy())
        assert np.array_equal(one.masks, share.numpy())
        assert (one.boxes.dtype, one.labels.dtype, one.masks.dtype) == (np.float32, np.int64, np.float32)


def test_pictures_brought_ahead_and_those_that_were_not_make_one_batch_in_their_order() -> None:
    ahead, batch = Ahead(CPU), [picture(seed) for seed in range(4)]
    for one in (batch[3], batch[1]):
        ahead.bring(one)
    assert np.array_equal(ahead.take(batch).numpy(), np.stack(batch))
    assert ahead.brought == {}


def test_a_picture_that_nobody_wants_any_more_leaves_the_device() -> None:
    ahead, kept = Ahead(CPU), picture(0)
    ahead.bring(kept)
    ahead.bring(picture(1))
    gc.collect()
    assert list(ahead.brought) == [id(kept)]


def test_what_was_brought_is_what_the_network_sees(model: LoadedModel) -> None:
    engine = TorchEngine(model, device="cpu", threads=1)
    engine.ahead = Ahead(CPU)  # as on CUDA
    batch = [picture(seed) for seed in range(3)]
    safe = SafeEngine(engine)
    assert isinstance(safe, BringsAhead)
    for one in batch[:2]:
        safe.bring(one)
    assert len(engine.ahead.brought) == 2
    for one, found in zip(batch, safe.infer(batch), strict=True):
        assert np.allclose(found.scores, reference(model, one).scores, atol=1e-4)


def test_a_device_that_fails_while_a_picture_is_brought_is_left_to_the_inspection(model: LoadedModel) -> None:
    class Gone(Ahead):
        def bring(self, picture: Channels) -> None:  # noqa: ARG002 - the signature is given
            raise RuntimeError("CUDA error: device is lost")

    engine = TorchEngine(model, device="cpu", threads=1)
    engine.ahead = Gone(CPU)
    safe, one = SafeEngine(engine), picture(0)
    safe.bring(one)
    assert len(safe.infer([one])) == 1


def doubled(numbers: torch.Tensor) -> Sequence[torch.Tensor]:
    return [numbers * 2]


def added(_: Run, __: torch.Tensor) -> Run:
    return lambda numbers: [numbers + numbers]


def never(_: Run, __: torch.Tensor) -> Run:
    raise RuntimeError("this cannot be recorded")


def wrong(_: Run, __: torch.Tensor) -> Run:
    return lambda numbers: [numbers * 2.0001]


def taking(plain_s: float, shortcut_s: float) -> Callable[[Run, torch.Tensor], float]:
    return lambda run, _: plain_s if run is doubled else shortcut_s


@pytest.mark.parametrize(
    ("make", "plain_s", "shortcut_s", "kept"),
    [(added, 1.0, 0.5, True), (added, 1.0, 0.99, False), (never, 1.0, 0.5, False), (wrong, 1.0, 0.5, False)],
)
def test_a_shortcut_is_kept_where_it_is_equal_and_faster(
    make: Callable[[Run, torch.Tensor], Run], plain_s: float, shortcut_s: float, *, kept: bool
) -> None:
    run, numbers = Shortcuts(doubled, make, taking(plain_s, shortcut_s)), torch.rand(2, 3)
    with capture_logs() as logs:
        for number in range(AFTER + 2):
            assert torch.equal(run(numbers)[0], numbers * 2)
            assert len(run.chosen) == (number + 1 >= AFTER)
    assert [run.chosen[shape] is not doubled for shape in run.chosen] == [kept]
    assert len(logs) == 1


def test_only_shapes_that_repeat_get_a_shortcut_and_not_more_than_memory_is_set_aside_for() -> None:
    run = Shortcuts(doubled, added, taking(1.0, 0.5))
    for side in range(1, MOST + 3):
        numbers = torch.rand(side, 3)
        for _ in range(AFTER - 1):
            run(numbers)
        assert len(run.chosen) == min(side - 1, MOST)
        assert torch.equal(run(numbers)[0], numbers * 2)
    assert len(run.chosen) == MOST


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_on_cuda_pictures_brought_ahead_and_graphs_give_what_the_network_gives(model: LoadedModel) -> None:
    engine = TorchEngine(model, device="cuda")
    batch = [picture(seed) for seed in range(3)]
    expected = [reference(model, one) for one in batch]
    for _ in range(AFTER + 2):
        for one in batch:
            engine.bring(one)
        for found, known in zip(engine.infer(batch), expected, strict=True):
            assert np.allclose(found.scores, known.scores, atol=1e-3)
    assert isinstance(engine.convolve, Shortcuts)
    assert len(engine.convolve.chosen) == 1
