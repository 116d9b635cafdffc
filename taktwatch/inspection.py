"""`taktwatch inspect`: picture files in, one answer each; a file that cannot be inspected stops nothing."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from taktwatch.clock import now
from taktwatch.config import LineConfig
from taktwatch.errors import BadInput, BadPicture
from taktwatch.pictures import encode_png, probe
from taktwatch.records import Detection, LayerProfile, ModelRef, Verdict

if TYPE_CHECKING:
    from detector.folder import PictureReport

__all__ = ["Answer", "inspect_files", "template_beside"]


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said of one file: a verdict with its detections, or an error."""

    file: str
    error: str | None = None
    verdict: Verdict | None = None
    reasons: tuple[str, ...] | None = None
    doubts: tuple[str, ...] = ()
    detections: tuple[Detection, ...] | None = None
    layers: tuple[LayerProfile, ...] = ()
    model: ModelRef | None = None
    template_sha256: str | None = None
    overlay: str | None = None
    profiles: tuple[str, ...] = ()


def template_beside(picture: Path) -> Path | None:
    """Return the golden template that lies beside a picture named `ID_test.*`, if it is there.

    >>> template_beside(Path("board.png")) is None
    True
    """
    if not picture.stem.endswith("_test"):
        return None
    stem = re.sub(r"_test$", "_temp", picture.stem)
    same = picture.with_name(stem + picture.suffix)
    if same.exists():
        return same
    return next(iter(sorted(picture.parent.glob(f"{stem}.*"))), None)


def inspect_files(
    config: LineConfig, product: str, files: Iterable[Path], *, template: Path | None, overlay: Path | None
) -> Iterator[Answer]:
    """Inspect files in order, each compared with `template`, or with the one beside it, or the product's own.

    `overlay`: a folder for pictures with the findings drawn on (not for panels: they are never whole in memory). Raises
    at once what is wrong with product or model: `UnknownProduct`, `ModelError`, `ConfigError`; and `BadInput` for a
    template that cannot be read.
    """
    from detector.folder import inspect_pictures
    from detector.panel import PanelFile

    limit = config.ingest.max_picture_bytes
    golden = read_limited(template, limit) if template is not None and not is_panel(template, config) else None
    if overlay is not None:
        overlay.mkdir(parents=True, exist_ok=True)
    unreadable: list[Answer] = []

    def readable() -> Iterator[tuple[Path, bytes, bytes | None] | PanelFile]:
        for file in files:
            try:
                beside = template_beside(file) if template is None else None
                large = is_panel(file, config) or (template is not None and golden is None)
                if large and config.product(product).view == "board":
                    yield PanelFile(file, template or beside)
                    continue
                yield file, read_limited(file, limit), read_limited(beside, limit) if beside is not None else golden
            except BadInput as error:
                unreadable.append(Answer(file=str(file), error=str(error)))

    written: set[str] = set()
    um_per_px = config.product(product).um_per_px
    for report in inspect_pictures(config, product, readable(), taken_at=now()):
        yield from drained(unreadable)
        yield answer(report, overlay, written, um_per_px)
    yield from drained(unreadable)


def is_panel(path: Path, config: LineConfig) -> bool:
    """Say whether a picture is too large for one piece, by its file's size and its header; a stranger's file is not."""
    try:
        if path.stat().st_size > config.ingest.max_picture_bytes:
            return True
        with path.open("rb") as file:
            info = probe(file.read(2**20), name=str(path))
    except (OSError, BadPicture):
        return False
    return info.width * info.height > config.ingest.max_picture_px


def drained(waiting: list[Answer]) -> list[Answer]:
    """Empty a list and return what was in it."""
    taken = waiting[:]
    waiting.clear()
    return taken


def read_limited(path: Path, limit: int) -> bytes:
    """Read a file of at most `limit` bytes. Raises `BadInput` naming it."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise BadInput(f"{path}: {size} bytes, more than the limit of {limit} (ingest.max_picture_bytes)")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error


def answer(report: "PictureReport", overlay: Path | None, written: set[str], um_per_px: float) -> Answer:
    """Put a report into the words of the command line, and draw it where that was asked for."""
    done = report.inspection
    if done is None:
        return Answer(file=str(report.path), error=report.error)
    drawn, plotted = None, []
    if overlay is not None and report.picture is not None:
        from detector.overlay import draw_overlay
        from detector.walk_views import draw_walk, profile_plot, walk_of

        name, picture = free_name(report.path.stem, written), report.picture
        if done.layers:
            walked = walk_of(done.detections, um_per_px, done.layers)
            picture = draw_walk(picture, walked)
            for layer in walked.layers:
                plotted.append(overlay / f"{name}-{layer.profile.layer}.svg")
                plotted[-1].write_text(profile_plot(layer, um_per_px), encoding="utf-8")
        drawn = overlay / f"{name}.png"
        drawn.write_bytes(encode_png(draw_overlay(picture, done.detections)))
    return Answer(
        file=str(report.path),
        verdict=done.verdict,
        reasons=done.reasons,
        doubts=tuple(str(doubt) for doubt in done.doubts),
        detections=done.detections,
        layers=done.layers,
        model=done.model,
        template_sha256=report.template_sha256,
        overlay=str(drawn) if drawn else None,
        profiles=tuple(map(str, plotted)),
    )


def free_name(stem: str, taken: set[str]) -> str:
    """Return a name not yet taken in this run: two folders may hold files of one name."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name)
    return name
