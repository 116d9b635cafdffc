"""What keeps a model from inspecting on a commercial line: licences in its ancestry. Asked at every start."""

from detector.cards import ModelCard, licence_faults
from taktwatch.config import LineConfig
from taktwatch.errors import ModelError

__all__ = ["refuse_unlicensed"]


def refuse_unlicensed(config: LineConfig, card: ModelCard) -> None:
    """Raise `ModelError` where the line is commercial and something in the model's ancestry is not, or is unknown."""
    if config.commercial and (faults := licence_faults(card)):
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ModelError(
            f"model {card.name!r} may not run on line {config.line!r}, which is commercial: {faults[0]}{more}; "
            "train one on data that allows it, or see `taktwatch models show`"
        )
