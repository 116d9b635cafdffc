"""COCO's format: one `*.json` with instance masks, pictures beside it or in `images/`, golden ones in `templates/`.

A picture's `board` entry (ours, optional) says which pictures are of one board; without it each is its own.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from faster_coco_eval.core import mask as coco_mask

from detector.evaluation.labelled import Dataset, Item, Labelled, picture_size, read_picture
from detector.evaluation.outcomes import TrueDefect
from taktwatch.errors import BadInput, BadRecord
from taktwatch.records import Rle
from taktwatch.rle import area, bbox

__all__ = ["open_coco", "to_rle"]


class Category(msgspec.Struct):
    """A class."""

    id: int
    name: str


class Image(msgspec.Struct):
    """A picture."""

    id: int
    file_name: str
    width: int
    height: int
    board: str | None = None


class Annotation(msgspec.Struct):
    """One thing in a picture; the box is x, y, width, height."""

    id: int
    image_id: int
    category_id: int
    segmentation: Any = None
    bbox: tuple[float, float, float, float] | None = None
    iscrowd: int = 0


class Description(msgspec.Struct):
    """What a COCO file holds, as far as it is read."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


def open_coco(folder: Path, descriptions: list[Path]) -> Dataset:
    """Check all of a data set and return it. Raises `BadInput` naming the first thing that is wrong."""
    if len(descriptions) > 1:
        names = ", ".join(path.name for path in descriptions)
        raise BadInput(f"{folder}: several descriptions ({names}); keep one *.json a folder")
    path = descriptions[0]
    body = path.read_bytes()
    try:
        read = msgspec.json.decode(body, type=Description)
    except msgspec.MsgspecError as error:
        raise BadInput(f"{path}: not COCO instances: {error}") from error
    digest = hashlib.sha256(body)
    labels = {category.id: category.name for category in read.categories}
    images = {image.id: image for image in read.images}
    truths: dict[int, list[TrueDefect]] = {identity: [] for identity in images}
    for annotation in read.annotations:
        where = f"{path}, annotation {annotation.id}"
        if annotation.image_id not in images:
            raise BadInput(f"{where}: picture {annotation.image_id} is not listed")
        if annotation.category_id not in labels:
            known = ", ".join(map(str, sorted(labels)))
            raise BadInput(f"{where}: unknown class {annotation.category_id}; categories lists {known}")
        image = images[annotation.image_id]
        truths[image.id].append(_truth(annotation, image, labels[annotation.category_id], where))
    templates = folder / "templates"
    items = []
    for image in sorted(read.images, key=lambda one: one.file_name):
        picture = _find(folder, image.file_name, path)
        template = templates / image.file_name if templates.is_dir() else None
        for file in filter(None, (picture, template)):
            size = picture_size(file)
            if size != (image.height, image.width):
                raise BadInput(f"{file}: {size[1]}x{size[0]} px, {path.name} says {image.width}x{image.height}")
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
        load = partial(_load, picture, template, tuple(truths[image.id]))
        items.append(Item(image.file_name, image.board or image.file_name, load))
    if not items:
        raise BadInput(f"{path}: lists no pictures")
    classes = tuple(name for _, name in sorted(labels.items()))
    view = "section" if "copper_layer" in classes else "board"
    return Dataset(str(folder), "coco", view, classes, items, digest.hexdigest())


def to_rle(segmentation: Any, height: int, width: int) -> Rle:
    """Return COCO polygons, run lengths, or compressed run lengths as ours. Raises `ValueError`, `TypeError`.

    >>> area(to_rle([[0, 0, 4, 0, 4, 4, 0, 4]], 8, 8))
    16
    """
    if isinstance(segmentation, list):
        polygons: Any = coco_mask.frPyObjects(segmentation, height, width)
        merged: Any = coco_mask.merge(polygons)
    elif isinstance(segmentation["counts"], list):
        merged = coco_mask.frPyObjects(segmentation, height, width)
    else:
        merged = segmentation
    counts = merged["counts"]
    size = (int(merged["size"][0]), int(merged["size"][1]))
    return Rle(size=size, counts=counts.decode("ascii") if isinstance(counts, bytes) else str(counts))


def _truth(annotation: Annotation, image: Image, label: str, where: str) -> TrueDefect:
    """Check one annotation."""
    if annotation.iscrowd:
        raise BadInput(f"{where}: a crowd; give each thing its own annotation")
    if not annotation.segmentation:
        raise BadInput(f"{where}: no mask (segmentation is empty)")
    try:
        rle = to_rle(annotation.segmentation, image.height, image.width)
        if rle.size != (image.height, image.width):
            raise BadInput(
                f"{where}: its mask is {rle.size[1]}x{rle.size[0]} px, its picture {image.width}x{image.height}"
            )
        pixels, tight = area(rle), bbox(rle)
    except (BadRecord, ValueError, TypeError, KeyError, IndexError) as error:
        raise BadInput(f"{where}: its mask cannot be read: {error}") from error
    if not pixels:
        raise BadInput(f"{where}: an empty mask; draw it or remove it")
    x, y, wide, high = annotation.bbox or (tight[0], tight[1], tight[2] - tight[0], tight[3] - tight[1])
    box = (float(x), float(y), float(x + wide), float(y + high))
    inside = box[0] >= -1 and box[1] >= -1 and box[2] <= image.width + 1 and box[3] <= image.height + 1
    if wide <= 0 or high <= 0 or not inside or not np.isfinite(box).all():
        shown = " ".join(f"{end:g}" for end in box)
        raise BadInput(f"{where}: box {shown} is empty or outside the {image.width}x{image.height} picture")
    return TrueDefect(label=label, box_px=box, mask=rle, area_px=pixels)


def _find(folder: Path, name: str, path: Path) -> Path:
    """Return where a picture lies. Raises `BadInput`, also for a name that leaves the folder."""
    for root in (folder, folder / "images"):
        if (root / name).is_file() and (root / name).resolve().is_relative_to(folder.resolve()):
            return root / name
    raise BadInput(f"{path}: picture {name} is missing, in {folder} and in {folder / 'images'}")


def _load(picture: Path, template: Path | None, truths: tuple[TrueDefect, ...]) -> Labelled:
    """Read one picture and its template."""
    return Labelled(read_picture(picture), read_picture(template) if template is not None else None, truths)
