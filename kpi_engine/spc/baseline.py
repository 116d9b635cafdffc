"""A baseline: the limits a process is held to, the windows they come from, and what they are valid for.

A baseline is made once (`phase1`), never changed, and named by the SHA-256 of its content; a new one of the same place
is the next version and names the one it replaces. Limits learnt of one product, model or configuration say nothing
about another, so `require` refuses them.
"""

import hashlib
from datetime import datetime

import msgspec

from kpi_engine.spc.points import Subgroup
from kpi_engine.spc.scales import Scale
from taktwatch.errors import TaktwatchError

__all__ = ["Baseline", "BaselineRefused", "Identity", "Round", "load", "require", "save", "sealed"]

FORMAT = 1


class BaselineRefused(TaktwatchError):
    """A baseline that cannot be made of these windows, is damaged, or belongs to something else."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a baseline is valid for: one figure of one product at one station, as one model and configuration see it."""

    line: str
    station: str
    product: str
    metric: str
    model_id: str
    config_sha256: str


class Round(msgspec.Struct, frozen=True):
    """One iteration of phase I: what was estimated of `subgroups` subgroups, and which were beyond the limits then."""

    subgroups: int
    scale: Scale
    removed: tuple[Subgroup, ...]


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and their evidence.

    `lower` and `upper` are the limits of a Shewhart chart at the mean n, for people to read; charts compute theirs from
    `scale` and their own n. `subgroups` are those the estimate rests on, `rounds` how it came about, the last one
    removing nothing. `width` (sigma) is where phase I draws the line between the process and what happened to it.
    """

    identity: Identity
    version: int
    replaces: str
    since: datetime
    until: datetime
    scale: Scale
    lower: float
    upper: float
    n: float
    width: float
    subgroups: tuple[Subgroup, ...]
    rounds: tuple[Round, ...]
    format: int = FORMAT
    baseline_id: str = ""


def sealed(baseline: Baseline) -> Baseline:
    """Return the baseline with its id: the SHA-256 of its content as canonical JSON, the id left empty."""
    plain = msgspec.structs.replace(baseline, baseline_id="")
    plain = msgspec.json.decode(msgspec.json.encode(plain), type=Baseline)  # 5 and 5.0 are one number, so one hash
    digest = hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()
    return msgspec.structs.replace(plain, baseline_id=digest)


def save(baseline: Baseline) -> bytes:
    """Return the baseline as JSON."""
    return msgspec.json.encode(baseline, order="deterministic")


def load(saved: bytes) -> Baseline:
    """Return what `save` wrote. Raises `BaselineRefused` where it is damaged, altered or of a newer format."""
    try:
        found = msgspec.json.decode(saved, type=Baseline)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BaselineRefused(f"a damaged baseline: {error}; make it again from its windows") from error
    if found.format != FORMAT:
        raise BaselineRefused(f"a baseline of format {found.format}, this taktwatch reads {FORMAT}; update taktwatch")
    if (expected := sealed(found).baseline_id) != found.baseline_id:
        raise BaselineRefused(
            f"baseline {found.baseline_id[:12]} of {found.identity.product!r} was altered: its content hashes to"
            f" {expected[:12]}; make it again from its windows"
        )
    return found


def require(baseline: Baseline, running: Identity) -> None:
    """Check that a baseline is valid for what runs. Raises `BaselineRefused` naming every difference."""
    have, want = msgspec.structs.asdict(baseline.identity), msgspec.structs.asdict(running)
    differences = [f"{name} is {have[name]!r}, running is {want[name]!r}" for name in have if have[name] != want[name]]
    if differences:
        raise BaselineRefused(
            f"baseline {baseline.baseline_id[:12]} (version {baseline.version}) is of something else:"
            f" {'; '.join(differences)}; choose new windows for a baseline of what runs now"
        )
