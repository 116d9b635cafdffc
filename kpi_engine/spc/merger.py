"""Windows merged into subgroups until n is enough.

A minute of 20 boards says little about a rate of 1 %: charts want several expected defects a point. Windows are added
up until `min_n` boards are together; where that takes longer than `max_age_us`, `least_n` will do.

Where events are so rare that gaps between them are counted (`events`), a subgroup reaches to the window with the next
one, however many boards that takes.

A subgroup's times are fixed when it closes. What comes later for a time it covers (a correction, or a window that
closed late) changes its counts, never its times: a point once shown stays where it was, with a higher revision. A
window between two subgroups belongs to the later one. A window is settled when it is final, or when its subgroup is no
longer among the last `keep`; what comes for a settled time is ignored and counted.

Thus the state is bounded by the horizon and `keep`.
"""

from bisect import bisect_right

import msgspec

__all__ = ["Held", "Merged", "Merger", "MergerState", "Slice", "take"]


class Slice(msgspec.Struct, frozen=True, array_like=True):
    """One window as the merger sees it: times in microseconds since 1970, `amount` of `n`, its revision.

    Of measured values `amount` is their sum and `squares` that of their squares.
    """

    start_us: int
    end_us: int
    amount: int
    n: int
    revision: int
    final: bool = False
    squares: int = 0


class Held(msgspec.Struct, frozen=True, array_like=True):
    """A subgroup: its times, its sums, and those of its windows that may still change, by start."""

    start_us: int
    end_us: int
    amount: int = 0
    n: int = 0
    revision: int = 0
    parts: dict[int, Slice] = {}
    squares: int = 0


class MergerState(msgspec.Struct, frozen=True, array_like=True):
    """Closed subgroups that may still change, oldest first; the one that fills; what is settled; how much was ignored.

    Windows that start before `settled_us` never change again.
    """

    kept: tuple[Held, ...] = ()
    filling: Held | None = None
    settled_us: int = 0
    ignored: int = 0


class Merged(msgspec.Struct, frozen=True):
    """What a window did: `dropped` subgroups left the front of `kept`, changed from index `since` on (None: not)."""

    state: MergerState
    dropped: int = 0
    since: int | None = None


class Merger(msgspec.Struct, frozen=True):
    """How much is enough. At `max_age_us` a subgroup closes with `least_n`; below that it waits on.

    With `events` above 0 that amount is enough, and nothing else is.
    """

    min_n: int = 500
    least_n: int = 100
    max_age_us: int = 8 * 3_600_000_000
    keep: int = 64
    events: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that contradict each other."""
        if not (1 <= self.least_n <= self.min_n and self.keep >= 1 and self.max_age_us > 0):
            raise ValueError(
                f"subgroups need 1 <= least_n <= min_n, a keep of 1 or more and an age above 0, not {self}"
            )

    def enough(self, held: Held) -> bool:
        """Whether a subgroup closes."""
        if self.events:
            return held.amount >= self.events
        return held.n >= self.min_n or (held.n >= self.least_n and held.end_us - held.start_us >= self.max_age_us)


def take(state: MergerState, window: Slice, merger: Merger) -> Merged:
    """Take a window, new or corrected, in whatever order they come.

    >>> merger, state = Merger(min_n=30, least_n=10), MergerState()
    >>> for minute in range(3):
    ...     merged = take(state, Slice(minute * 60, minute * 60 + 60, 1, 20, revision=minute), merger)
    ...     state = merged.state
    >>> [(held.start_us, held.end_us, held.amount, held.n) for held in state.kept], state.filling.n
    ([(0, 120, 2, 40)], 20)
    """
    if window.start_us < state.settled_us:
        return Merged(msgspec.structs.replace(state, ignored=state.ignored + 1))
    place = bisect_right([held.end_us for held in state.kept], window.start_us)
    if place < len(state.kept):
        held = replaced(state.kept[place], window)
        before = state.kept[place]
        changed = (held.amount, held.n, held.squares) != (before.amount, before.n, before.squares)
        kept = (*state.kept[:place], held, *state.kept[place + 1 :])
        return settle(msgspec.structs.replace(state, kept=kept), window, merger, place if changed else None)
    filling = replaced(state.filling or Held(window.start_us, window.end_us), window)
    if filling.n == 0 and not filling.parts:
        return settle(msgspec.structs.replace(state, filling=None), window, merger, None)
    filling = msgspec.structs.replace(
        filling, start_us=min(filling.start_us, window.start_us), end_us=max(filling.end_us, window.end_us)
    )
    if merger.enough(filling):
        state = msgspec.structs.replace(state, kept=(*state.kept, filling), filling=None)
        return settle(state, window, merger, len(state.kept) - 1)
    return settle(msgspec.structs.replace(state, filling=filling), window, merger, None)


def replaced(held: Held, window: Slice) -> Held:
    """Put a window's counts in the place of those it had; older revisions change nothing, idle windows add nothing."""
    before = held.parts.get(window.start_us)
    if (before is not None and window.revision <= before.revision) or (before is None and window.n == 0):
        return held
    amount, n, squares = (0, 0, 0) if before is None else (before.amount, before.n, before.squares)
    return Held(
        start_us=held.start_us,
        end_us=held.end_us,
        amount=held.amount + window.amount - amount,
        n=held.n + window.n - n,
        revision=max(held.revision, window.revision),
        parts={**held.parts, window.start_us: window},
        squares=held.squares + window.squares - squares,
    )


def settle(state: MergerState, window: Slice, merger: Merger, since: int | None) -> Merged:
    """Forget what cannot change any more, and say from where on subgroups changed.

    What changed just now stays until the next window, so that its point can be made.
    """
    evicted = len(state.kept) - merger.keep
    settled_us = max(state.settled_us, window.end_us if window.final else 0)
    if evicted > 0:
        settled_us = max(settled_us, state.kept[evicted - 1].end_us)
    if settled_us == state.settled_us:
        return Merged(state, 0, since)
    last = len(state.kept) if since is None else since
    dropped = min(last, sum(held.end_us <= settled_us for held in state.kept))
    kept = tuple(without(held, settled_us) for held in state.kept[dropped:])
    filling = None if state.filling is None else without(state.filling, settled_us)
    return Merged(
        MergerState(kept, filling, settled_us, state.ignored), dropped, None if since is None else since - dropped
    )


def without(held: Held, settled_us: int) -> Held:
    """Drop the single counts of windows that start before `settled_us`; the sums stay."""
    if all(start >= settled_us for start in held.parts):
        return held
    parts = {start: part for start, part in held.parts.items() if start >= settled_us}
    return msgspec.structs.replace(held, parts=parts)
