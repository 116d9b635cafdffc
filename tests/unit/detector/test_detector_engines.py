"""Every engine says what the network itself says, alone and in any batch. Random weights, real runtimes."""

import hashlib
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from servers.require import missing
from structlog.testing import capture_logs
from tiny_model import TINY, card
from torchvision.ops import MultiScaleRoIAlign

from detector.beside import hashed
from detector.engines import Engine, RawDetections, quantise
from detector.engines.between import Rules, detect
from detector.engines.export import export_parts, ship_export
from detector.engines.lanes import lanes
from detector.engines.onnx_engine import OnnxEngine
from detector.engines.parts import cut
from detector.engines.pooling import by_level, pooled
from detector.engines.torch_engine import TorchEngine
from detector.model import build_model, core
from detector.proving.asking import reference
from detector.proving.choose import ENGINES, build_engine, open_engine, refuse_unproven
from detector.proving.parity import BOUNDS, Parity
from detector.proving.proofs import Subject, find_proof, may_be_proven, proof_path, ship_proofs, subject_of
from detector.registry import EXPORTS, LoadedModel, add_model, load_model, pack_weights, save_model
from detector.scores import Calibration, Costs, is_calibrated, save_calibration
from detector.spec import ModelSpec
from taktwatch.config import DetectorConfig, EngineName
from taktwatch.errors import ConfigError, ModelError
from taktwatch.simulator import BOARD_DEFECTS

EXACT: tuple[EngineName, ...] = ("torch", "openvino", "onnx")


def network(seed: int, spec: ModelSpec = TINY) -> LoadedModel:
    torch.manual_seed(seed)
    built = build_model(spec).eval().requires_grad_(requires_grad=False)
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as if it had been trained: folding must not forget them
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    sha256 = hashlib.sha256(pack_weights(built)).hexdigest()
    return LoadedModel(card(spec).model_copy(update={"weights_sha256": sha256}), built)


def picture(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((3, height, width)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return network(5)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> DetectorConfig:
    return DetectorConfig(engines_dir=tmp_path_factory.mktemp("engines"), device="cpu", threads=1)


@pytest.fixture(scope="module")
def engines(model: LoadedModel, settings: DetectorConfig) -> dict[str, Engine]:
    return {name: build_engine(model, name, settings) for name in EXACT}


def assert_same(one: RawDetections, other: RawDetections) -> None:
    assert one.labels.tolist() == other.labels.tolist()
    assert np.allclose(one.boxes, other.boxes, atol=1e-2)
    assert np.allclose(one.scores, other.scores, atol=1e-4)
    assert np.allclose(one.masks, other.masks, atol=1e-3)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("size", [(96, 128), (75, 101), (33, 200)])
def test_an_engine_finds_what_the_network_itself_finds(
    engines: dict[str, Engine], model: LoadedModel, name: str, size: tuple[int, int]
) -> None:
    for seed in range(3):
        seen = picture(seed, *size)
        expected = reference(model, seen)
        assert len(expected.scores) > 0
        assert_same(expected, engines[name].infer([seen])[0])


def test_what_a_network_sees_first_changes_nothing_of_what_it_finds_later() -> None:
    fresh, other = network(5), network(5)
    reference(other, picture(0, 33, 200))  # mostly padding
    assert_same(reference(fresh, picture(1)), reference(other, picture(1)))


@pytest.mark.parametrize("name", EXACT)
def test_on_every_engine_a_frame_alone_equals_the_frame_in_any_batch(engines: dict[str, Engine], name: str) -> None:
    batch = [picture(seed) for seed in range(5)]
    for count in (2, 5):
        for seen, together in zip(batch, engines[name].infer(batch[:count]), strict=False):
            assert_same(engines[name].infer([seen])[0], together)


def test_bfloat16_stays_near_and_says_that_it_is_bfloat16(model: LoadedModel, settings: DetectorConfig) -> None:
    try:
        engine = build_engine(model, "openvino-bf16", settings)
    except ConfigError as error:
        pytest.skip(str(error))
    assert engine.ref.precision == "bfloat16"
    seen = picture(3)
    (found,) = engine.infer([seen])
    assert abs(float(found.scores[0]) - float(reference(model, seen).scores[0])) < BOUNDS["bfloat16"].score


def test_eight_bits_stay_near_and_say_that_they_are_eight(
    settings: DetectorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("nncf") is None:
        missing("nncf", "pip install 'taktwatch[int8]' provides it")
    monkeypatch.setattr(quantise, "PICTURES", 12)  # enough for random weights
    six = network(5, TINY.model_copy(update={"classes": BOARD_DEFECTS}))
    engine = build_engine(six, "openvino-int8", settings)
    assert engine.ref.precision == "int8"
    seen = picture(3)
    (found,) = engine.infer([seen])
    expected = reference(six, seen)
    assert len(found.scores) == len(expected.scores)
    assert abs(float(found.scores[0]) - float(expected.scores[0])) < BOUNDS["int8"].score


def test_eight_bits_without_the_quantiser_say_what_to_install(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ConfigError, match=r"nncf once, which is not installed; pip install 'taktwatch\[int8\]'"):
        build_engine(model, "openvino-int8", DetectorConfig(engines_dir=tmp_path))


@pytest.mark.parametrize("name", EXACT)
def test_every_engine_names_itself_and_the_model(engines: dict[str, Engine], model: LoadedModel, name: str) -> None:
    ref = engines[name].ref
    assert ref.weights_sha256 == model.card.weights_sha256
    assert name in ref.engine
    assert ref.precision == "float32"
    assert ref.device


@pytest.mark.parametrize("name", EXACT)
def test_a_picture_without_findings_gives_empty_arrays_on_every_engine(
    settings: DetectorConfig, name: EngineName
) -> None:
    quiet = network(5, TINY.model_copy(update={"score_floor": 0.999}))
    (found,) = build_engine(quiet, name, settings).infer([picture(0)])
    assert found.boxes.shape == (0, 4)
    assert found.masks.shape == (0, 28, 28)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenet_v3"])
def test_every_backbone_is_cut_and_folded_without_a_change(backbone: str) -> None:
    loaded = network(7, TINY.model_copy(update={"backbone": backbone, "levels": 3, "anchors_px": (8, 16, 32, 64)}))
    engine = TorchEngine(loaded, device="cpu", threads=1)
    norms = [module for part in engine.parts for module in part.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms == []
    seen = picture(1)
    assert_same(reference(loaded, seen), engine.infer([seen])[0])


def test_making_an_engine_leaves_the_network_as_it_is(model: LoadedModel) -> None:
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    TorchEngine(model, device="cpu", threads=1).infer([picture(0)])
    after = model.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_boxes_come_back_in_their_order_from_the_levels_they_were_sorted_into() -> None:
    boxes = [torch.tensor([[0.0, 0, 300, 300], [0, 0, 10, 10]]), torch.tensor([[0.0, 0, 120, 120]])]
    rois, places = by_level(boxes, 3)
    assert [len(level) for level in rois] == [1, 1, 1]
    assert torch.cat(rois)[places].tolist() == [[0, 0, 0, 300, 300], [0, 0, 0, 10, 10], [1, 0, 0, 120, 120]]


def test_boxes_are_cut_out_as_torchvision_cuts_them_out() -> None:
    torch.manual_seed(2)
    features = [torch.randn(2, 8, 40 // 2**level, 56 // 2**level) for level in range(3)]
    corner, sides = torch.rand(2, 60, 2) * 150 - 20, torch.rand(2, 60, 2) ** 4 * 230
    boxes = list(torch.cat([corner, corner + sides], 2))
    pool = MultiScaleRoIAlign(["0", "1", "2"], output_size=7, sampling_ratio=2)
    expected = pool({str(at): level for at, level in enumerate(features)}, boxes, [(160, 224)] * 2)
    found = pooled([level.permute(0, 2, 3, 1).contiguous() for level in features], boxes, 7)
    assert torch.allclose(found.permute(0, 3, 1, 2), expected, atol=1e-4)


def test_no_boxes_are_cut_to_nothing() -> None:
    assert pooled([torch.zeros(1, 8, 8, 5)], [torch.zeros(0, 4)], 7).shape == (0, 7, 7, 5)


@torch.inference_mode()
def test_the_steps_between_the_parts_are_torchvisions(model: LoadedModel) -> None:
    class Plain:
        """The parts as they are: no folding, no other layout."""

        _, box_part, mask_part = cut(model.network)

        def trunk(self, pictures: torch.Tensor) -> list[torch.Tensor]:
            features = list(model.network.backbone(pictures).values())
            objectness, deltas = model.network.rpn.head(features)
            return [*(level.permute(0, 2, 3, 1) for level in features[:-1]), *objectness, *deltas]

        def boxes(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scores, deltas = self.box_part(cells)
            return scores, deltas

        def masks(self, cells: torch.Tensor) -> torch.Tensor:
            return self.mask_part(cells)

    pictures = torch.from_numpy(np.stack([picture(1), picture(2)]))
    expected = core(model.network, pictures)
    for one, other in zip(expected, detect(Plain(), Rules.of(model.network, 2), pictures), strict=True):
        assert one["labels"].tolist() == other.labels.tolist()
        assert np.allclose(one["boxes"].numpy(), other.boxes, atol=1e-3, rtol=0)
        assert np.allclose(one["scores"].numpy(), other.scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", EXACT)
def test_small_pictures_that_go_together_give_what_each_gives_alone(engines: dict[str, Engine], name: str) -> None:
    batch = [picture(seed, 64, 64) for seed in range(9)]
    for seen, together in zip(batch, engines[name].infer(batch), strict=True):
        assert_same(engines[name].infer([seen])[0], together)


def test_the_number_of_torchs_threads_is_lowered_in_lanes_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        pool = lanes(2, "lane")
        assert torch.get_num_threads() == 3
        assert [one.result() for one in [pool.submit(torch.get_num_threads) for _ in range(4)]] == [1] * 4
        with ThreadPoolExecutor(1) as other:
            assert other.submit(torch.get_num_threads).result() == 3
        pool.shutdown()
    finally:
        torch.set_num_threads(before)


def test_an_export_is_made_once_and_each_weights_have_their_own(model: LoadedModel, settings: DetectorConfig) -> None:
    first = export_parts(model, "onnx", settings.engines_dir)
    stamp = first.part("trunk").stat().st_mtime_ns
    assert export_parts(model, "onnx", settings.engines_dir).part("trunk").stat().st_mtime_ns == stamp
    other = export_parts(network(6), "onnx", settings.engines_dir)
    assert other.folder != first.folder
    assert other.sha256 != first.sha256


def test_a_changed_export_is_refused_by_name(model: LoadedModel, settings: DetectorConfig, tmp_path: Path) -> None:
    shutil.copytree(settings.engines_dir, tmp_path / "copy")
    path = export_parts(model, "onnx", tmp_path / "copy").part("trunk")
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)
    with pytest.raises(ModelError, match=r"trunk\.onnx is not the file that was exported; delete"):
        export_parts(model, "onnx", tmp_path / "copy")


@pytest.fixture
def shipping(settings: DetectorConfig, tmp_path: Path) -> LoadedModel:
    """A model in a folder, with its ONNX export beside it."""
    made = network(5)
    save_model(tmp_path / "models" / "one", made.card, pack_weights(made.network))
    model = load_model(tmp_path / "models" / "one")
    ship_export(model, export_parts(model, "onnx", settings.engines_dir))
    return model


def test_an_export_shipped_with_its_model_is_taken_as_it_is(
    shipping: LoadedModel, settings: DetectorConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = export_parts(shipping, "onnx", settings.engines_dir)
    monkeypatch.setattr("detector.engines.export._make", None)
    taken = export_parts(shipping, "onnx", tmp_path / "engines")
    assert taken.folder.parent.parent == tmp_path / "engines"
    assert taken.card == proven.card
    card = add_model(tmp_path / "models" / "one", tmp_path / "models", "two")
    assert card.model_id == shipping.card.model_id
    assert export_parts(load_model(tmp_path / "models" / "two"), "onnx", tmp_path / "others").card == proven.card


def test_a_changed_export_beside_a_model_is_refused_by_name(shipping: LoadedModel, tmp_path: Path) -> None:
    (path,) = (tmp_path / "models" / "one" / EXPORTS).glob("*/trunk.onnx")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelError, match=r"exports/.*trunk\.onnx is not the file that was exported; delete"):
        export_parts(shipping, "onnx", tmp_path / "engines")


def test_exports_beside_a_model_go_with_its_weights(
    shipping: LoadedModel, settings: DetectorConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "models" / "one"
    again = ship_export(shipping, export_parts(shipping, "onnx", settings.engines_dir))
    assert list((folder / EXPORTS).iterdir()) == [again]
    other = network(6)
    save_model(folder, other.card, pack_weights(other.network))
    assert not (folder / EXPORTS).exists()


@pytest.mark.parametrize(("name", "package"), [("openvino", "openvino"), ("onnx", "onnxruntime")])
def test_a_missing_runtime_says_what_to_install(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: EngineName, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package}, which is not installed; pip install 'taktwatch\[{name}\]'"):
        build_engine(model, name, DetectorConfig(engines_dir=tmp_path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize(("name", "words"), [("torch", "torch sees no CUDA device"), ("onnx", "no CUDA provider")])
def test_a_cuda_device_that_is_not_there_is_said_with_what_to_set(
    model: LoadedModel, settings: DetectorConfig, name: EngineName, words: str
) -> None:
    with pytest.raises(ModelError, match=rf"{words}; .*set it to auto or cpu"):
        build_engine(model, name, settings.model_copy(update={"device": "cuda"}))


def test_a_folder_that_cannot_be_written_is_named(model: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"cannot be written: .*; set detector\.engines_dir"):
        export_parts(model, "onnx", tmp_path / "file" / "engines")


def calibrated(model: LoadedModel, precision: str, domain: str = "d") -> Calibration:
    made = Calibration(
        model_id=model.card.model_id,
        engine="openvino 1",
        precision=precision,
        domain=domain,
        dataset="d",
        dataset_sha256="",
        expected_defect_rate=0.1,
        costs=Costs(escape=1.0, false_call=1.0),
        defective_boards=1,
        good_boards=1,
        expected_cost=None,
        classes={},
    )
    return msgspec.structs.replace(made, sha256=hashed(made))


def subject(engine: Engine) -> Subject:
    found = subject_of(engine, Path("engines"))
    assert found is not None
    return found


def proof_of(engine: Engine) -> Path:
    return proof_path(subject(engine), "onnx")


def proven(engine: Engine, /, **changed: object) -> Parity:
    ref = engine.ref
    facts = {"model_id": ref.model_id, "weights_sha256": ref.weights_sha256, "engine": ref.engine}
    counts = dict.fromkeys(("failed", "detections", "unmatched", "to_pass", "to_fail"), 0) | {"boards": 3000}
    figures = dict.fromkeys(("score", "score_most", "area", "area_most"), 0.0) | {"almost_all": 0.999}
    about = subject(engine)
    measured = facts | {"precision": ref.precision, "device": ref.device, "export_sha256": about.sha256}
    measured["recipe_sha256"] = about.recipe_sha256
    return Parity.model_validate(measured | counts | figures | changed)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ""),
        ({"score": 0.01}, r"scores differ by 0\.01, at most 0\.001"),
        ({"to_pass": 4}, "4 of 3000 boards pass that the reference fails"),
        ({"boards": 300}, "compared on 300 boards, 3000 are wanted"),
        ({"device": "cpu another"}, "was compared as .* on cpu another"),
        ({"export_sha256": "0" * 64}, "or another export"),
    ],
)
def test_a_line_runs_only_an_engine_that_was_proven_here(
    model: LoadedModel, settings: DetectorConfig, engines: dict[str, Engine], changed: dict[str, object], words: str
) -> None:
    wanted = settings.model_copy(update={"engine": "onnx"})
    place = proof_of(engines["onnx"])
    place.unlink(missing_ok=True)
    with pytest.raises(ModelError, match=r"not yet compared .*; run `taktwatch models verify tiny --engine onnx`"):
        open_engine(model, wanted)
    place.write_text(proven(engines["onnx"], **changed).model_dump_json())
    try:
        if words:
            with pytest.raises(ModelError, match=words):
                open_engine(model, wanted)
        else:
            assert open_engine(model, wanted).ref == engines["onnx"].ref
    finally:
        place.unlink()


def half_on_the_cpu(model: LoadedModel) -> TorchEngine:
    """What runs on CUDA, as far as it runs here: the same mixed precision on the CPU."""
    engine = TorchEngine(model, device="cpu", threads=1)
    engine.precision = "float16"
    return engine


def test_mixed_precision_stays_near_the_network_itself(model: LoadedModel) -> None:
    engine = half_on_the_cpu(model)
    assert engine.ref.precision == "float16"
    for seed in range(3):
        seen = picture(seed)
        expected, (found,) = reference(model, seen), engine.infer([seen])
        assert found.boxes.dtype == found.scores.dtype == found.masks.dtype == np.float32
        assert abs(float(found.scores[0]) - float(expected.scores[0])) < BOUNDS["float16"].score


def test_torch_wants_a_proof_for_any_precision_but_the_references(model: LoadedModel, tmp_path: Path) -> None:
    exact, half = TorchEngine(model, device="cpu", threads=1), half_on_the_cpu(model)
    refuse_unproven(model, exact, tmp_path)
    with pytest.raises(ModelError, match=r"torch-fp16 was not yet compared .*verify tiny --engine torch-fp16`"):
        refuse_unproven(model, half, tmp_path)
    about = subject_of(half, tmp_path)
    assert about is not None
    assert not may_be_proven(model, "torch-fp16", tmp_path)
    about.folder.mkdir(parents=True)
    proof_path(about, "torch-fp16").write_text(proven(half).model_dump_json())
    assert may_be_proven(model, "torch-fp16", tmp_path)
    assert find_proof(model, half.ref, about) is not None
    refuse_unproven(model, half, tmp_path)


def test_float16_without_a_cuda_device_is_refused_with_what_to_set(model: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"float16 on a CUDA device alone.*; set detector\.engine to torch"):
        build_engine(model, "torch-fp16", DetectorConfig(engines_dir=tmp_path, device="cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("name", ["torch", "torch-fp16"])
def test_on_cuda_torch_stays_within_the_bounds_of_its_precision(model: LoadedModel, tmp_path: Path, name: str) -> None:
    engine = build_engine(model, name, DetectorConfig(engines_dir=tmp_path, device="cuda"))
    seen = picture(3)
    (found,) = engine.infer([seen])
    expected = reference(model, seen)
    assert abs(float(found.scores[0]) - float(expected.scores[0])) < BOUNDS[engine.ref.precision].score


def test_auto_takes_torch_where_nothing_else_was_proven(model: LoadedModel, settings: DetectorConfig) -> None:
    assert isinstance(open_engine(model, settings.model_copy(update={"engine": "auto"})), TorchEngine)


def test_a_proof_shipped_with_the_model_holds_for_an_export_made_the_same_way(
    model: LoadedModel, settings: DetectorConfig, engines: dict[str, Engine], tmp_path: Path
) -> None:
    wanted = settings.model_copy(update={"engine": "onnx"})
    proof_of(engines["onnx"]).unlink(missing_ok=True)
    with_folder = LoadedModel(model.card, model.network, tmp_path)
    shipped = proven(engines["onnx"], export_sha256="0" * 64)
    ship_proofs(with_folder, [shipped])
    assert open_engine(with_folder, wanted).ref == engines["onnx"].ref
    for changed in ({"recipe_sha256": "0" * 64}, {"device": "cpu another"}, {"model_id": "other"}):
        (tmp_path / "proofs.json").unlink()
        ship_proofs(with_folder, [shipped.model_copy(update=changed)])
        with pytest.raises(ModelError, match="not yet compared"):
            open_engine(with_folder, wanted)


@pytest.mark.parametrize(
    ("changed", "may"),
    [({}, "may"), ({"device": "cpu another"}, ""), ({"engine": "openvino 1.0"}, ""), ({"precision": "int8"}, "")],
)
def test_nothing_is_exported_for_a_shipped_proof_that_is_of_another_machine(
    model: LoadedModel, engines: dict[str, Engine], tmp_path: Path, changed: dict[str, str], may: str
) -> None:
    ref = engines["openvino"].ref
    made_here = {"engine": ref.engine, "precision": ref.precision, "device": ref.device}
    with_folder = LoadedModel(model.card, model.network, tmp_path)
    ship_proofs(with_folder, [proven(engines["onnx"], **made_here | changed)])
    assert may_be_proven(with_folder, "openvino", tmp_path / "engines") == bool(may)


def test_shipped_proofs_of_other_processors_stay_and_a_damaged_list_is_named(
    model: LoadedModel, engines: dict[str, Engine], tmp_path: Path
) -> None:
    folder = LoadedModel(model.card, model.network, tmp_path)
    ship_proofs(folder, [proven(engines["onnx"]), proven(engines["onnx"], device="b")])
    path = ship_proofs(folder, [proven(engines["onnx"], device="b", to_fail=1)])
    kept = [(one["device"], one["to_fail"]) for one in json.loads(path.read_bytes())]
    assert kept == [("b", 1), (engines["onnx"].ref.device, 0)]
    path.write_text("{")
    with pytest.raises(ModelError, match=r"proofs\.json: no list of proofs; delete it"):
        ship_proofs(folder, [])


def test_auto_considers_what_was_proven_and_says_what_it_chose(
    model: LoadedModel, settings: DetectorConfig, engines: dict[str, Engine]
) -> None:
    place = proof_of(engines["onnx"])
    place.write_text(proven(engines["onnx"]).model_dump_json())
    try:
        with capture_logs() as logs:
            chosen = open_engine(model, settings.model_copy(update={"engine": "auto"})).ref.engine
    finally:
        place.unlink()
    (said,) = logs
    assert chosen == {"torch": engines["torch"], "onnx": engines["onnx"]}[said["engine"]].ref.engine
    assert said["why"] == "the fastest of those proven here"
    assert said["ms_a_picture"].keys() == {"torch", "onnx"}
    assert min(said["ms_a_picture"], key=said["ms_a_picture"].get) == said["engine"]
    assert said["left_out"]["openvino"] == "not proven here"


def test_auto_runs_torch_where_what_was_proven_cannot_be_imported(
    model: LoadedModel,
    settings: DetectorConfig,
    engines: dict[str, Engine],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref, folder = engines["openvino"].ref, LoadedModel(model.card, model.network, tmp_path)
    named = {"engine": ref.engine, "precision": ref.precision, "device": ref.device}
    ship_proofs(folder, [proven(engines["onnx"], **named)])
    monkeypatch.setitem(sys.modules, "openvino", None)
    with capture_logs() as logs:
        chosen = open_engine(folder, settings.model_copy(update={"engine": "auto"}))
    assert isinstance(chosen, TorchEngine)
    assert logs[0]["why"] == "the only one that may run here"
    assert "not installed" in logs[0]["left_out"]["openvino"]


def test_auto_leaves_out_an_engine_that_fails_when_it_is_tried(
    model: LoadedModel, settings: DetectorConfig, engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise RuntimeError("CUDA error: device is lost\nCompile with ...")

    place = proof_of(engines["onnx"])
    place.write_text(proven(engines["onnx"]).model_dump_json())
    monkeypatch.setattr(OnnxEngine, "infer", gone)
    try:
        with capture_logs() as logs:
            chosen = open_engine(model, settings.model_copy(update={"engine": "auto"}))
    finally:
        place.unlink()
    assert isinstance(chosen, TorchEngine)
    assert logs[0]["left_out"]["onnx"] == "failed when it was tried: CUDA error: device is lost"
    assert logs[0]["ms_a_picture"].keys() == {"torch"}


def test_auto_leaves_out_an_engine_whose_scores_were_not_calibrated(
    model: LoadedModel, settings: DetectorConfig, engines: dict[str, Engine], tmp_path: Path
) -> None:
    place = proof_of(engines["onnx"])
    place.write_text(proven(engines["onnx"]).model_dump_json())
    auto = settings.model_copy(update={"engine": "auto"})
    try:
        for precision, left_out in (("int8", "its scores are not calibrated"), ("float32", None)):
            (tmp_path / precision).mkdir()
            save_calibration(tmp_path / precision, [calibrated(model, precision)])
            with capture_logs() as logs:
                open_engine(LoadedModel(model.card, model.network, tmp_path / precision), auto)
            assert logs[0]["left_out"].get("onnx") == left_out
    finally:
        place.unlink()


def test_an_engine_is_calibrated_when_it_is_for_all_pictures_that_the_model_is_calibrated_for(
    model: LoadedModel, engines: dict[str, Engine], tmp_path: Path
) -> None:
    exact = msgspec.structs.replace(engines["openvino"].ref, precision="float32")
    eighth = msgspec.structs.replace(exact, precision="int8")
    save_calibration(tmp_path, [calibrated(model, "float32", domain) for domain in ("binary", "colour")])
    save_calibration(tmp_path, [calibrated(model, "int8", "colour")])
    assert is_calibrated(tmp_path, exact)
    assert not is_calibrated(tmp_path, eighth)
    save_calibration(tmp_path, [calibrated(model, "int8", "binary")])
    assert is_calibrated(tmp_path, eighth)


def test_every_engine_has_its_name_in_the_settings() -> None:
    for name in ENGINES:
        assert DetectorConfig(engine=name).engine == name
