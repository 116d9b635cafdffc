"""What of the alerts topic is to be delivered over one channel. Pure: the topic is the outbox, this is its reading."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from taktwatch.alertlog import transition_key
from taktwatch.records import AlertState, AlertTransition, Notification, Record

__all__ = ["KEPT_KEYS", "Settled", "message_key", "worth_telling"]

KEPT_KEYS = 1000
"""Keys remembered per channel: repeats follow their first within one restart of the evaluation, so few are needed."""

TOLD = frozenset({AlertState.FIRING, AlertState.NO_DATA})


def worth_telling(transition: AlertTransition) -> bool:
    """Whether people hear of it: an alert begins, or one they heard of is over. The rest is for screens."""
    if transition.state in TOLD:
        return transition.previous is not AlertState.RECOVERING
    return transition.state is AlertState.RESOLVED


def message_key(transition: AlertTransition, channel: str) -> str:
    """The idempotency key of a transition on a channel."""
    return f"{transition_key(transition)}-{channel}"


class Settled:
    """The keys of one channel that need no further attempt, the newest `KEPT_KEYS` of them.

    >>> settled = Settled(["a"])
    >>> settled.add("b")
    >>> "a" in settled, "c" in settled, list(settled)
    (True, False, ['a', 'b'])
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self.keys = OrderedDict.fromkeys(keys)

    def __contains__(self, key: str) -> bool:
        """Whether the key is settled."""
        return key in self.keys

    def __iter__(self) -> Iterator[str]:
        """Keys, the oldest first."""
        return iter(self.keys)

    def add(self, key: str) -> None:
        """Remember a key, and forget the oldest beyond the bound."""
        self.keys[key] = None
        while len(self.keys) > KEPT_KEYS:
            self.keys.popitem(last=False)

    def learn(self, record: Record, channel: str) -> None:
        """Take over what an earlier run recorded as delivered over this channel."""
        if isinstance(record, Notification) and record.channel == channel and record.delivered:
            self.add(record.key)
