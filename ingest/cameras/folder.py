"""Pictures of a folder: once in name order, or watched for new complete ones."""

import hashlib
import mimetypes
import threading
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime
from pathlib import Path
from time import monotonic

from ingest.cameras.panels import PanelCutter, sent_of, whole_key
from ingest.cameras.shot import HEAD_BYTES, Event, Found, Lost, Resume, Shot
from taktwatch.errors import BadPicture, ConfigError
from taktwatch.pictures import check

__all__ = ["SUFFIXES", "FolderCamera", "read_shot", "still_there", "template_beside"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""Files of other names are no pictures and are left alone."""

CHUNK_BYTES = 2**20


class FolderCamera:
    """Takes the pictures of a folder; golden templates (`ID_temp.*`) only go along with their `ID_test.*`.

    Watching, a file is taken when its size and time stood still for `settle_s` and it ends as its format ends; a file
    that never does is taken as it is after `patience_s`, so that it is reported and not forgotten. Each version of a
    file is taken once; it is stamped (`stamp`) when it is found complete.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        stamp: Callable[[], datetime] | None = None,
        settle_s: float = 0.4,
        patience_s: float = 5.0,
        cutter: PanelCutter | None = None,
    ) -> None:
        """`stamp` None: once; otherwise watch. `cutter`: pictures are panels and sent in strips.

        Raises `ConfigError` where there is no such folder.
        """
        self.path = path
        self.max_bytes = max_bytes
        self.stamp = stamp
        self.settle_s = settle_s
        self.patience_s = patience_s
        self.cutter = cutter
        if not path.is_dir():
            raise ConfigError(f"the picture folder {path} does not exist; create it or correct source.path")

    def events(self, resume: Resume, stop: threading.Event) -> Iterator[Event]:
        """Yield the folder's pictures."""
        return self._once(resume, stop) if self.stamp is None else self._watch(self.stamp, resume, stop)

    def _once(self, resume: Resume, stop: threading.Event) -> Iterator[Event]:
        for path in pictures_in(self.path):
            if stop.is_set():
                return
            if self.cutter is not None:
                yield from self.cutter.shots(path, template_beside(path), after=sent_of(path, resume.after))
            elif resume.after is None or path.name > resume.after:
                yield read_shot(path, self.max_bytes)

    def _watch(self, stamp: Callable[[], datetime], resume: Resume, stop: threading.Event) -> Iterator[Event]:
        taken = set(resume.seen)
        since: dict[str, float] = {}
        lost = False
        while not stop.is_set():
            try:
                present = {version_key(path): path for path in pictures_in(self.path)}
            except OSError as error:
                if not lost:
                    yield Lost(f"the picture folder {self.path} cannot be read: {error.strerror}")
                lost = True
            else:
                if lost:
                    yield Found()
                lost = False
                taken &= present.keys()
                now = monotonic()
                since = {key: since.get(key, now) for key in present if key not in taken}
                for key, path in present.items():
                    if key in since and self._complete(path, now - since[key]):
                        taken.add(key)
                        yield from self._taken(path, stamp, key, resume)
            stop.wait(self.settle_s / 2)

    def _taken(self, path: Path, stamp: Callable[[], datetime], key: str, resume: Resume) -> Iterator[Shot]:
        """Yield what a watched file gives; of a panel what was not sent before."""
        if self.cutter is None:
            yield read_shot(path, self.max_bytes, stamp=stamp, key=key)
            return
        sent = sum(whole_key(seen) == key for seen in resume.seen)
        yield from self.cutter.shots(path, template_beside(path), after=sent - 1, stamp=stamp, key=key)

    def _complete(self, path: Path, stood_still_s: float) -> bool:
        """Say whether a file that stood still for so long is to be taken."""
        if stood_still_s < self.settle_s:
            return False
        return stood_still_s >= self.patience_s or is_complete(path, self.max_bytes)


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures to inspect, in name order; templates and hidden files are left out. Raises `OSError`."""
    return sorted(
        (
            path
            for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.stem.endswith("_temp")
        ),
        key=lambda path: path.name,
    )


def version_key(path: Path) -> str:
    """Name this version of a file: a new file of the same name is another."""
    try:
        status = path.stat()
    except OSError:
        return f"{path.name}/gone"
    return f"{path.name}/{status.st_size}/{status.st_mtime_ns}"


def still_there(folder: Path, keys: AbstractSet[str]) -> frozenset[str]:
    """Return those versions of files that the folder still has; all of them where it cannot be read now."""
    try:
        present = {version_key(path) for path in pictures_in(folder)}
    except OSError:
        return frozenset(keys)
    return frozenset(key for key in keys if whole_key(key) in present)


def is_complete(path: Path, max_bytes: int) -> bool:
    """Say whether a file ends as its format ends; one over the limit is not waited for."""
    try:
        if path.stat().st_size > max_bytes:
            return True
        check(path.read_bytes())
    except OSError:
        return False
    except BadPicture:
        return False
    return True


def read_shot(
    path: Path, max_bytes: int, *, stamp: Callable[[], datetime] | None = None, key: str | None = None
) -> Shot:
    """Read one picture and the template beside it. What cannot be read, or is too large, is a shot with a fault.

    `stamp` is called once the picture is in memory: the time it counts as taken.
    """
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    sha256: str | None = None
    fault, data, whole_bytes, template = "", b"", 0, None
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
            whole_bytes = len(data)
            if whole_bytes > max_bytes:
                digest = hashlib.sha256(data)
                data = data[:HEAD_BYTES]
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
                    whole_bytes += len(chunk)
                sha256 = digest.hexdigest()
                fault = f"{path.name}: {whole_bytes} bytes, more than the {max_bytes} a line takes; send it in strips"
        beside = template_beside(path)
        if beside is not None:
            with beside.open("rb") as file:
                template = file.read(max_bytes + 1)  # one byte more than allowed is refused at the desk
    except OSError as error:
        fault = fault or f"{path.name}: cannot be read: {error.strerror}; check the file and its rights"
    return Shot(
        name=path.name,
        data=data,
        media_type=media_type,
        taken_at=None if stamp is None else stamp(),
        serial=path.stem.removesuffix("_test") if path.stem.endswith("_test") else None,
        template=template,
        key=key,
        whole_bytes=whole_bytes,
        sha256=sha256,
        fault=fault,
    )


def template_beside(path: Path) -> Path | None:
    """Return `ID_temp.*` beside a picture `ID_test.*`, the same kind of file first, or None."""
    if not path.stem.endswith("_test"):
        return None
    stem = path.stem.removesuffix("_test") + "_temp"
    suffixes = [path.suffix, *sorted(SUFFIXES)]
    return next((found for suffix in suffixes if (found := path.with_name(stem + suffix)).is_file()), None)
