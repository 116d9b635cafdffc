"""Every error taktwatch raises on purpose: what happened, to which input, what to do next."""

__all__ = [
    "BackendUnavailable",
    "BadInput",
    "BadPicture",
    "BadRecord",
    "ConfigError",
    "EngineFailed",
    "MemberReplaced",
    "ModelError",
    "OffsetLost",
    "RecordNotFound",
    "RecordTooLarge",
    "TaktwatchError",
    "UnknownProduct",
    "UnknownSchema",
]


class TaktwatchError(Exception):
    """Root of the tree. The command line prints it as one line and exits with status 2."""


class ConfigError(TaktwatchError):
    """line.toml or the environment is wrong; names the setting and the remedy."""


class ModelError(TaktwatchError):
    """A model folder is missing, damaged, or made for another spec."""


class EngineFailed(TaktwatchError):
    """What runs a model failed on pictures that others may inspect: the frames are kept."""


class BadInput(TaktwatchError):
    """Something from outside cannot be used; it goes to the dead topic and the line goes on."""


class BadPicture(BadInput):
    """Bytes that are no picture, a truncated one, or one larger than the limits."""


class UnknownProduct(BadInput):
    """A frame names a product that line.toml does not have."""


class BadRecord(BadInput):
    """Bytes on the bus that are not the record they claim to be."""


class UnknownSchema(BadRecord):
    """A record of a newer major schema version: refuse it, never guess."""


class BackendUnavailable(TaktwatchError):
    """A bus or a store does not answer; trying again later may work, not before `retry_after_s` where it said so."""

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OffsetLost(TaktwatchError):
    """Retention removed records that a consumer group had not read: it stops, it does not jump."""


class MemberReplaced(TaktwatchError):
    """Another consumer joined the group under this member's name: the older one ends."""


class RecordNotFound(TaktwatchError):
    """No record at that place of the log."""


class RecordTooLarge(TaktwatchError):
    """A record exceeds what the bus takes (`taktwatch.bus.MAX_RECORD_BYTES`)."""
