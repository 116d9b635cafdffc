"""Outcomes that arrived at a session and are not written into its ledger yet: many cost little more than one. Pure.

A session's gaps come out as if each outcome had been seen by itself (`kpi_engine.ledger`): numbers, places, and since
when nothing moved there. That needs what `waits_plainly` demands, and whoever takes an outcome in makes sure of the
rest: that the number was out, and that its event time lies in no final window.
"""

from kpi_engine.ledger import Gap, Session

__all__ = ["Arrivals", "waits_plainly"]

MOST_OUT = 64
"""A session with more numbers out than that is no ordinary one."""


def waits_plainly(session: Session) -> bool:
    """Whether a session goes on, its first outcomes are in, and what is out is little and placed beside an outcome."""
    return (
        not session.ended
        and session.newest >= 0
        and session.pending <= MOST_OUT
        and session.watermark_us is not None
        and all(not gap.missing and gap.floor_us is not None for gap in session.gaps[session.head :])
    )


class Arrivals:
    """What arrived at a session since it was last written down.

    `seqs`, in log order, with `stamps` (log time, us). `known`: event times by number (us since 1970) of these, and of
    the outcomes just below what was out. `low`: the first number that is out; `after` leads over what was in before.
    `top`: the highest number known to exist, `old_top` before. `out`: numbers that were out. `marks` that raised the
    top: how many outcomes came before, number, log time. `since_us`: nothing is out for longer. `bound_us`: the
    session's watermark.
    """

    __slots__ = (
        "after",
        "bound_us",
        "known",
        "low",
        "marks",
        "old_top",
        "out",
        "seqs",
        "session",
        "share",
        "since_us",
        "stamps",
        "top",
    )

    def __init__(self, session: Session, share: str, logged_us: int) -> None:
        gaps = session.gaps[session.head :]
        self.session = session
        self.share = share
        self.seqs: list[int] = []
        self.stamps: list[int] = []
        self.marks: list[tuple[int, int, int]] = []
        self.top = self.old_top = session.top
        self.bound_us = session.watermark_us or 0
        self.out = {seq for gap in gaps for seq in range(gap.first, gap.last + 1)}
        self.known = {gap.first - 1: gap.floor_us or 0 for gap in gaps}
        self.known.setdefault(session.newest, session.newest_us)
        self.low = gaps[0].first if gaps else session.top + 1
        ends = [*(gap.first for gap in gaps[1:]), session.top + 1]
        self.after = {gap.last: first for gap, first in zip(gaps, ends, strict=False)}
        self.since_us = min([logged_us, *(gap.since_us for gap in gaps)])

    def write_down(self) -> None:
        """Bring the session's ledger up to date."""
        session, seqs = self.session, self.seqs
        session.watermark_us = self.bound_us
        newest = max(seqs, default=-1)
        if self.low > self.top:
            del session.gaps[session.head :]
            session.pending = 0
        else:
            left = self.left(newest)
            session.gaps[session.head :] = left
            session.pending = sum([gap.size for gap in left])
        session.top = self.top
        session.inspected += len(seqs)
        if newest > session.newest:
            session.newest, session.newest_us, session.product = newest, self.known[newest], self.share

    def left(self, newest: int) -> list[Gap]:
        """Return what is out now. `newest`: the highest number that arrived."""
        spans: list[tuple[int, int, Gap | None]] = [
            (gap.first, gap.last, gap) for gap in self.session.gaps[self.session.head :]
        ]
        if spans and spans[-1][1] == self.old_top:
            spans[-1] = (spans[-1][0], self.top, spans[-1][2])
        elif self.top > self.old_top:
            spans.append((self.old_top + 1, self.top, None))
        arrived = sorted(self.seqs)
        count, index, left = len(arrived), 0, []
        for first, last, gap in spans:
            at = first
            while index < count and arrived[index] <= last:
                seq = arrived[index]
                if seq > at:
                    left.append(self.gap(at, seq - 1, gap, newest))
                at = seq + 1
                index += 1
            if at <= last:
                left.append(self.gap(at, last, gap, newest))
        return left

    def gap(self, first: int, last: int, old: Gap | None, newest: int) -> Gap:
        """Return what is left of an old gap, or a new one (`old` None), placed beside the outcome below it."""
        session = self.session
        since_us = old.since_us if old is not None and old.last != self.old_top else self.since(last, old, newest)
        if old is not None and first == old.first:
            return Gap(first, last, since_us, old.place_us, old.product, old.floor_us)
        below_us = self.known[first - 1]
        product = session.product if first - 1 == session.newest else self.share
        return Gap(first, last, since_us, below_us, product, below_us)

    def since(self, last: int, old: Gap | None, newest: int) -> int:
        """Return since when (log time) numbers above all outcomes that were in before are out.

        Below a new outcome: since the first one above them came. Above all: since the newest came, or the mark that
        told of them.
        """
        if last < newest:
            return next(stamp for seq, stamp in zip(self.seqs, self.stamps, strict=True) if seq > last)
        came = -1 if newest <= self.session.newest else self.seqs.index(newest)
        if came < 0 and old is not None:
            return old.since_us
        if came >= 0 and (self.old_top > newest or any(seq > newest for count, seq, _ in self.marks if count <= came)):
            return self.stamps[came]
        return next(logged_us for count, seq, logged_us in self.marks if count > came and seq > newest)
