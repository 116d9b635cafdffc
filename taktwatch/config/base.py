"""What every table of line.toml has in common."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Settings"]


class Settings(BaseModel):
    """Base of every table: a setting that nothing reads is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
