"""A network too small to inspect anything: tests of plumbing build it with random weights."""

from detector.registry import ModelCard
from detector.spec import ModelSpec
from detector.training.source import SIMULATOR

TINY = ModelSpec(
    view="board",
    input="template",
    classes=("open", "short"),
    levels=2,
    fpn_width=8,
    anchors_px=(16, 32, 64),
    box_head=8,
    mask_head=(8,),
    proposals=20,
    detections=10,
    score_floor=0.01,
)


def card(spec: ModelSpec) -> ModelCard:
    """A card as training writes it, for weights that are not there."""
    return ModelCard(
        name="tiny",
        licence="Apache-2.0",
        spec=spec,
        spec_sha256=spec.spec_sha256,
        weights_sha256="0" * 64,
        parameters=1,
        training_data=(SIMULATOR,),
        ancestry="none",
        settings={},
        command="none",
        metrics={},
        trained_with="torch",
        trained_at="2026-03-03T00:00:00+00:00",
    )
