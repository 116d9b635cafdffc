"""A picture that leaves the network in doubt is looked at again, turned around; both looks count alike."""

from collections.abc import Sequence

import numpy as np
import pytest
from exact_engine import REF, Differences, marked
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import TINY

from detector.engines import Channels, RawDetections
from detector.engines.twice import SecondLook, agreed, in_doubt, looking_twice, turned_back
from detector.inputs import Contrast, template_channels
from taktwatch.config import ClassConfig, ProductConfig
from taktwatch.simulator import golden

SIZE = (192, 256)
TEMPLATE = golden(4, size=SIZE)
CONTRAST = Contrast(float(TEMPLATE.mean()), float(TEMPLATE.std()))
SPEC = TINY.model_copy(update={"score_floor": 0.0503, "detections": 100})

Thing = tuple[tuple[float, float, float, float], int, float]


def answer(*things: Thing) -> RawDetections:
    """What a network says: boxes with label and score, best first; masks of one half say where they begin."""
    best = sorted(things, key=lambda one: -one[2])
    masks = np.zeros((len(best), 28, 28), np.float32)
    masks[:, :14] = 1
    return RawDetections(
        np.array([box for box, _, _ in best], np.float32).reshape(-1, 4),
        np.array([label for _, label, _ in best], np.int64),
        np.array([score for _, _, score in best], np.float32),
        masks,
    )


class Told:
    """An engine whose answers are told beforehand, one for each picture that it is shown."""

    spec, ref = SPEC, REF

    def __init__(self, *answers: RawDetections) -> None:
        self.answers, self.shown = list(answers), list[Channels]()

    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Answer."""
        self.shown += batch
        return [self.answers.pop(0) for _ in batch]


def picture(seed: int) -> Channels:
    return np.random.default_rng(seed).standard_normal((3, 40, 60)).astype(np.float32)


def test_a_picture_that_leaves_no_doubt_is_seen_once() -> None:
    engine = Told(answer(((1, 1, 9, 9), 1, 0.97), ((20, 1, 29, 9), 2, 0.2)), answer())
    sure, nothing = SecondLook(engine).infer([picture(1), picture(2)])
    assert len(engine.shown) == 2
    assert sure.scores.tolist() == pytest.approx([0.97, 0.2])
    assert nothing.scores.tolist() == []


def test_a_doubtful_one_is_seen_again_turned_around_and_the_mean_counts() -> None:
    turned = answer(((52, 28, 60, 36), 1, 0.5), ((1, 1, 5, 5), 1, 0.08))  # on 40 x 60 px
    engine = Told(answer(((0, 4, 8, 12), 1, 0.9), ((30, 30, 36, 36), 2, 0.6)), answer(), turned)
    one, other = SecondLook(engine).infer([picture(1), picture(2)])
    assert np.array_equal(engine.shown[2], picture(1)[:, ::-1, ::-1])
    assert one.scores.tolist() == pytest.approx([0.7, 0.3])  # seen by both; by one; a trace of a trace is left out
    assert one.boxes.tolist() == [[0, 4, 8, 12], [30, 30, 36, 36]]
    assert one.masks[0, 0, 0] == pytest.approx(0.9 / 1.4)
    assert len(other.scores) == 0


marks = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 150), st.integers(10, 40), st.integers(10, 40)), max_size=5
)


@settings(max_examples=30, deadline=None)
@given(marks)
def test_an_engine_that_sees_alike_either_way_round_says_the_same_on_a_second_look(
    places: list[tuple[int, int, int, int]],
) -> None:
    seen = marked(TEMPLATE, [(x, y, min(x + w, 256), min(y + h, 192)) for x, y, w, h in places])
    channels = template_channels(seen[..., 0], TEMPLATE[..., 0], CONTRAST)
    (once,), (twice,) = Differences().infer([channels]), SecondLook(Differences()).infer([channels])
    assert sorted(map(tuple, once.boxes.tolist())) == sorted(map(tuple, twice.boxes.tolist()))


def found() -> st.SearchStrategy[RawDetections]:
    """Any detections of one look, none of one class on another's place."""
    spots = st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 2), st.integers(6, 100))
    boxes = st.lists(spots, max_size=8, unique_by=lambda one: one[:3])
    return boxes.map(
        lambda some: answer(
            *(((x * 10, y * 10, x * 10 + 8, y * 10 + 8), kind, cents / 100) for x, y, kind, cents in some)
        )
    )


@given(found(), found())
def test_both_looks_count_alike(one: RawDetections, other: RawDetections) -> None:
    def told(raw: RawDetections) -> dict[tuple[float, ...], float]:
        rows = zip(raw.boxes.tolist(), raw.labels.tolist(), raw.scores.tolist(), strict=True)
        return {(*box, label): score for box, label, score in rows}

    first, second, both = told(one), told(other), told(agreed(one, other, SPEC))
    means = {thing: (first.get(thing, 0.0) + second.get(thing, 0.0)) / 2 for thing in first | second}
    assert both == pytest.approx({thing: mean for thing, mean in means.items() if mean > SPEC.score_floor})
    assert told(agreed(other, one, SPEC)) == pytest.approx(both)
    assert list(both.values()) == sorted(both.values(), reverse=True)


@given(found())
def test_what_is_turned_twice_is_as_it_was(raw: RawDetections) -> None:
    again = turned_back(turned_back(raw, (40, 60)), (40, 60))
    assert np.array_equal(again.boxes, raw.boxes)
    assert np.array_equal(again.masks, raw.masks)


@pytest.mark.parametrize(("score", "doubt"), [(0.29, False), (0.31, True), (0.94, True), (0.96, False)])
def test_doubt_lies_between_hardly_likely_and_sure(score: float, doubt: bool) -> None:  # noqa: FBT001
    assert in_doubt(answer(((0, 0, 9, 9), 1, score))) is doubt


def test_what_can_be_brought_to_a_device_ahead_is() -> None:
    class Far(Told):
        def __init__(self) -> None:
            super().__init__()
            self.brought: list[Channels] = []

        def bring(self, seen: Channels) -> None:
            self.brought.append(seen)

    far, seen = Far(), picture(1)
    SecondLook(far).bring(seen)
    SecondLook(Told()).bring(seen)  # near already
    assert far.brought == [seen]


def test_a_product_says_whether_it_wants_a_second_look_and_results_name_it() -> None:
    product = ProductConfig(model="m", um_per_px=20, classes={"open": ClassConfig()})
    engine = Told()
    assert looking_twice(engine, product) is engine
    twice = looking_twice(engine, product.model_copy(update={"second_look": True}))
    assert twice.ref.engine == f"{REF.engine} + second look"
    assert twice.spec is SPEC
