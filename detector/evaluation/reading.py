"""Blind readings for a study of agreement: sheets of shuffled pictures for people, and the model's own readings beside.

Each appraiser reads every part in every trial, from a folder of numbered pictures in an order of its own: neither the
names, nor the truth, nor the reading before can be seen. What number is which part stands in the key alone.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from detector.evaluation.agreement import Rating
from detector.evaluation.datasets import open_dataset
from detector.evaluation.labelled import Dataset, Item
from detector.evaluation.runner import Runner
from taktwatch.errors import BadInput, ConfigError
from taktwatch.pictures import encode_png
from taktwatch.records import Verdict

__all__ = ["BAD", "GOOD", "Key", "Sheet", "make_sheets", "read_table"]

GOOD, BAD = "good", "bad"
"""The two words of a reading. A model says `bad` where it stops a board: fail, and review."""

KEY, TABLE, ROWS = "key.json", "table.csv", "sheet.csv"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Sheet(msgspec.Struct, frozen=True):
    """One appraiser's one trial: reading 1 is of `parts[0]`, reading 2 of `parts[1]` ..."""

    appraiser: str
    trial: int
    parts: tuple[str, ...]

    @property
    def folder(self) -> str:
        """The folder of its pictures, within that of the study."""
        return f"{self.appraiser}-{self.trial}"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What the sheets leave out; kept from appraisers."""

    dataset: str
    dataset_sha256: str
    trials: int
    sheets: tuple[Sheet, ...]


def make_sheets(where: str, out: Path, appraisers: Sequence[str], *, parts: int, trials: int, seed: int) -> Key:
    """Draw `parts` pictures of a data set by chance and write a folder to read for every appraiser and trial.

    Each has the pictures `001.png ...`, the golden templates beside them (`001-golden.png`) where the set has them, and
    `sheet.csv` to fill in. Raises `BadInput` for a data set that is not whole or too small, names that are no names,
    and a study that lies there already.
    """
    for name in appraisers:
        if not NAME.fullmatch(name) or appraisers.count(name) > 1:
            raise BadInput(f"appraiser {name!r}: give each once, letters, digits, '.', '_' and '-' only")
    dataset = open_dataset(where)
    if parts > len(dataset.items):
        raise BadInput(f"{dataset.name}: {len(dataset.items)} pictures, {parts} parts asked for; give fewer --parts")
    if (out / KEY).exists():
        raise BadInput(f"{out} holds a study, perhaps with readings in it; give another folder with --out")
    chosen = np.random.default_rng([seed, 0]).choice(len(dataset.items), parts, replace=False)
    items = {dataset.items[index].name: dataset.items[index] for index in chosen.tolist()}
    sheets = tuple(
        Sheet(name, trial, tuple(np.random.default_rng([seed, number, trial]).permutation(list(items)).tolist()))
        for number, name in enumerate(appraisers, 1)
        for trial in range(1, trials + 1)
    )
    for sheet in sheets:
        (out / sheet.folder).mkdir(parents=True, exist_ok=True)
        lines = [f"{number},\n" for number in range(1, parts + 1)]
        (out / sheet.folder / ROWS).write_text("reading,rating\n" + "".join(lines), encoding="utf-8")
    for item in items.values():
        for file, body in _pictures(item):
            for sheet in sheets:
                number = sheet.parts.index(item.name) + 1
                (out / sheet.folder / f"{number:03}{file}").write_bytes(body)
    key = Key(dataset=where, dataset_sha256=dataset.sha256, trials=trials, sheets=sheets)
    (out / KEY).write_bytes(msgspec.json.format(msgspec.json.encode(key), indent=2) + b"\n")
    return key


def read_table(out: Path, open_runner: Callable[[Dataset], Runner]) -> Path:
    """Gather what people wrote on their sheets, let a model read each part as often, and write `table.csv`.

    The reference is what the product's rules say of the truth. `open_runner` opens the model for the data set. Raises
    `BadInput` naming the sheet and line where a reading is missing or no word of the two, `ConfigError` for no study.
    """
    key = _key(out)
    people = [one for sheet in key.sheets for one in _readings(out / sheet.folder / ROWS, sheet)]
    dataset = open_dataset(key.dataset)
    if dataset.sha256 != key.dataset_sha256:
        raise BadInput(f"{key.dataset} is not what the sheets were made of; bring it back, or make new sheets")
    runner = open_runner(dataset)
    runner.check(dataset)
    model = runner.model.card.name
    if model in {sheet.appraiser for sheet in key.sheets}:
        raise BadInput(f"an appraiser is called {model!r}, as the model is; who is who?")
    wanted = set(key.sheets[0].parts)
    said, truth = [], {}
    for item in (one for one in dataset.items if one.name in wanted):
        for trial in range(1, key.trials + 1):
            outcome = runner.inspect(item)
            truth[item.name] = BAD if outcome.defective else GOOD
            word = GOOD if outcome.verdict is Verdict.PASS else BAD
            said.append(Rating(part=item.name, appraiser=model, trial=str(trial), rating=word))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("part", "appraiser", "trial", "rating", "reference"))
    rows.writerows((one.part, one.appraiser, one.trial, one.rating, truth[one.part]) for one in (*people, *said))
    (out / TABLE).write_text(text.getvalue(), encoding="utf-8")
    return out / TABLE


def _pictures(item: Item) -> Iterator[tuple[str, bytes]]:
    """Return an item's picture, and its template where it has one, as the ends of their file names and PNG."""
    labelled = item.load()
    yield ".png", encode_png(labelled.picture)
    if labelled.template is not None:
        yield "-golden.png", encode_png(labelled.template)


def _key(out: Path) -> Key:
    """Read a study's key. Raises `ConfigError`."""
    try:
        return msgspec.json.decode((out / KEY).read_bytes(), type=Key)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{out / KEY}: no key of a study ({error}); make one with `taktwatch msa-sheet`") from error


def _readings(path: Path, sheet: Sheet) -> list[Rating]:
    """Read a sheet that was filled in. Raises `BadInput` naming the line."""
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))[1:]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
    found: dict[str, str] = {}
    for line, row in enumerate(rows, 2):
        if not row:
            continue
        number, word = ([cell.strip().lower() for cell in row] + [""])[:2]
        if number in found or number not in {str(index + 1) for index in range(len(sheet.parts))}:
            raise BadInput(f"{path}, line {line}: reading {number!r} is not one of 1 to {len(sheet.parts)}, each once")
        if word not in {GOOD, BAD}:
            raise BadInput(f"{path}, line {line}: {word!r} is no rating; write {GOOD} or {BAD}")
        found[number] = word
    if len(found) < len(sheet.parts):
        raise BadInput(f"{path}: {len(found)} of {len(sheet.parts)} readings; every part is read in every trial")
    return [
        Rating(part=part, appraiser=sheet.appraiser, trial=str(sheet.trial), rating=found[str(index + 1)])
        for index, part in enumerate(sheet.parts)
    ]
