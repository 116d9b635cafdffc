"""The network built from a spec, and the engine that runs it. Weights are random here: only plumbing is tested."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_model import TINY, card
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from detector.engines import RawDetections
from detector.engines.torch_engine import TorchEngine
from detector.masks import roi_mask
from detector.model import LEARNED_ASIDE_PX, MaskPool, answering, build_model, core, pool
from detector.registry import LoadedModel
from detector.spec import SPECS, ModelSpec, find_spec
from taktwatch.errors import ModelError


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    torch.manual_seed(5)
    network = build_model(TINY).eval()
    return TorchEngine(LoadedModel(card(TINY), network), device="cpu", threads=1)


def picture(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((3, height, width)).astype(np.float32)


def assert_same(one: RawDetections, other: RawDetections) -> None:
    assert one.labels.tolist() == other.labels.tolist()
    assert np.allclose(one.boxes, other.boxes, atol=1e-2)
    assert np.allclose(one.scores, other.scores, atol=1e-4)
    assert np.allclose(one.masks, other.masks, atol=1e-3)


@settings(deadline=None, max_examples=15)
@given(seeds=st.lists(st.integers(0, 50), min_size=2, max_size=4), place=st.integers(0, 3))
def test_a_frame_alone_equals_the_frame_in_any_batch(engine: TorchEngine, seeds: list[int], place: int) -> None:
    place %= len(seeds)
    alone = engine.infer([picture(seeds[place])])[0]
    together = engine.infer([picture(seed) for seed in seeds])[place]
    assert len(alone.scores) > 0
    assert_same(alone, together)


def test_the_engine_finds_what_torchvisions_own_forward_finds(engine: TorchEngine) -> None:
    seen = picture(1)
    with torch.inference_mode():
        expected = engine.model.network([torch.from_numpy(seen)])[0]
    found = engine.infer([seen])[0]
    assert found.labels.tolist() == expected["labels"].tolist()
    assert np.allclose(found.boxes, expected["boxes"].numpy(), atol=1e-2)
    assert np.allclose(found.masks, expected["masks"][:, 0].numpy(), atol=1e-3)


def test_a_picture_of_any_size_is_not_resized_and_boxes_stay_inside(engine: TorchEngine) -> None:
    found = engine.infer([picture(2, 75, 101)])[0]
    assert found.masks.shape[1:] == (28, 28)
    assert len(found.boxes) > 0
    assert found.boxes.min() >= 0
    assert found.boxes[:, [0, 2]].max() <= 101
    assert found.boxes[:, [1, 3]].max() <= 75


def test_a_picture_without_findings_gives_empty_arrays() -> None:
    torch.manual_seed(5)
    spec = TINY.model_copy(update={"score_floor": 0.999})
    found = TorchEngine(LoadedModel(card(spec), build_model(spec).eval()), device="cpu").infer([picture(0)])[0]
    assert found.boxes.shape == (0, 4)
    assert found.masks.shape == (0, 28, 28)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "resnet101", "mobilenet_v3"])
@pytest.mark.parametrize("levels", [3, 4])
def test_every_backbone_builds_and_runs(backbone: str, levels: int) -> None:
    anchors = (16, 32, 64, 128, 256)[: levels + 1]
    spec = ModelSpec.model_validate(
        {**TINY.model_dump(), "backbone": backbone, "levels": levels, "anchors_px": anchors}
    )
    network: MaskRCNN = build_model(spec).eval()
    with torch.inference_mode():
        (found,) = core(network, torch.zeros(1, 3, 64, 64))
    assert found["masks"].shape[1:] == (28, 28)


def test_the_spec_is_its_hash() -> None:
    assert TINY.spec_sha256 == TINY.model_copy().spec_sha256
    assert TINY.spec_sha256 != TINY.model_copy(update={"box_head": 16}).spec_sha256


def test_anchors_must_fit_the_levels() -> None:
    with pytest.raises(ValidationError, match="3 levels want 4 anchors, not 2"):
        ModelSpec(view="board", input="rgb", classes=("open",), anchors_px=(16, 32))


def test_an_unknown_spec_is_refused_by_name() -> None:
    assert find_spec("board-sim") is SPECS["board-sim"]
    with pytest.raises(ModelError, match="no spec is called 'x'; there are: board-sim, board-deeppcb, section"):
        find_spec("x")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none_is_refused() -> None:
    with pytest.raises(ModelError, match="torch sees no CUDA device"):
        TorchEngine(LoadedModel(card(TINY), build_model(TINY)), device="cuda")


def test_the_standard_form_takes_the_names_and_shapes_of_torchvision() -> None:
    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=7).state_dict()
    ours = build_model(SPECS["mask-rcnn-resnet50"]).state_dict()
    shapes = {name: value.shape for name, value in ours.items() if not name.endswith("num_batches_tracked")}
    assert shapes == {name: value.shape for name, value in theirs.items() if name in shapes}
    assert theirs.keys() - ours.keys() == set()


def test_a_faster_rcnn_has_no_mask_head_and_its_boxes_stand_for_masks() -> None:
    spec = SPECS["board-faster"]
    torch.manual_seed(1)
    network = build_model(spec)
    assert not any("mask" in name for name in network.state_dict())
    target = {"boxes": torch.tensor([[8.0, 8.0, 30.0, 30.0]]), "labels": torch.tensor([1])}
    assert set(network([torch.randn(3, 64, 64)], [target])) == {
        "loss_classifier",
        "loss_box_reg",
        "loss_objectness",
        "loss_rpn_box_reg",
    }
    with torch.inference_mode():
        (answer,) = core(answering(network, spec).eval(), torch.randn(1, 3, 64, 64))
    assert answer["masks"].shape == (len(answer["boxes"]), 28, 28)
    assert len(answer["boxes"])
    assert float(answer["masks"].min()) > 0.99


@settings(deadline=None, max_examples=50)
@given(sides=st.tuples(*[st.integers(4, 40)] * 2), margins=st.tuples(*[st.floats(3, 10)] * 4))
def test_what_torchvision_teaches_of_a_box_aside_is_the_mask_of_the_box(
    sides: tuple[int, int], margins: tuple[float, float, float, float]
) -> None:
    (width, height), (left, up, right, down) = sides, margins
    truth = torch.zeros(1, 70, 70, dtype=torch.uint8)
    truth[0, 15 : 15 + height, 15 : 15 + width] = 1
    box = torch.tensor([[15 - left, 15 - up, 15 + width + right, 15 + height + down]])
    middle = np.array([15 + width / 2, 15 + height / 2]) - 0.5
    away = []
    for aside_px in (LEARNED_ASIDE_PX, 0.0):
        taught = project_masks_on_boxes(truth, box - aside_px, torch.zeros(1), 28)[0]
        shares = roi_mask(taught.numpy(), box[0].numpy(), 70, 70).shares
        assert shares is not None
        rows, cols = np.indices(shares.shape) + np.floor(box[0, [1, 0]].numpy())[:, None, None]
        away.append(np.array([(shares * at).sum() / shares.sum() for at in (cols, rows)]) - middle)
    assert np.abs(away[0]).max() < 0.2
    assert away[1] - away[0] == pytest.approx(-LEARNED_ASIDE_PX, abs=0.2)


def test_masks_are_drawn_aside_only_by_a_network_that_answers() -> None:
    plain, made = pool(TINY, 14), MaskPool(pool(TINY, 14))
    levels = {str(level): torch.randn(1, 4, 32 >> level, 32 >> level) for level in range(TINY.levels)}
    boxes, sizes = [torch.tensor([[20.0, 30.0, 60.0, 70.0]])], [(128, 128)]
    assert torch.equal(made.train()(levels, boxes, sizes), plain(levels, boxes, sizes))
    assert torch.equal(made.eval()(levels, boxes, sizes), plain(levels, [boxes[0] - LEARNED_ASIDE_PX], sizes))


def test_a_spec_without_masks_wants_tight_boxes() -> None:
    with pytest.raises(ValidationError, match="target_margin_px must be 0"):
        ModelSpec(view="board", input="rgb", classes=("open",), mask_head=())
