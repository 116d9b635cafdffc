"""Alert rules, and where alerts go."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from taktwatch.config.base import Settings
from taktwatch.config.spc import ChartedFigure, Signal
from taktwatch.records import Severity

__all__ = ["AlertRule", "AlertsConfig", "AppriseChannel", "WebhookChannel"]


class AlertRule(Settings):
    """When to tell somebody. `metric` is a name in `taktwatch.kpis`; windows with n below `min_n` decide nothing."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    kind: Literal["threshold", "no_data", "spc"] = "threshold"
    metric: Literal["defect_rate", "review_rate", "dpmo", "dead_rate", "corroded_share", "missing", "latency_p95_s"] = (
        "defect_rate"
    )
    above: float = 0.0
    recover_below: float | None = Field(
        default=None, description="hysteresis: firing ends only below this; default `above`"
    )
    for_windows: int = Field(default=1, ge=1, description="pending until so many windows in a row are above")
    keep_windows: int = Field(default=1, ge=1, description="recovering until so many windows in a row are below")
    min_n: int = Field(default=20, ge=0)
    silent_windows: int = Field(default=2, ge=1, description="no_data: windows in a row without any picture")
    signals: tuple[Signal, ...] = Field(default=(), description="spc: only these signals of control charts; none: any")
    figures: tuple[ChartedFigure, ...] = Field(default=(), description="spc: only charts of these figures; none: any")
    severity: Severity = Severity.WARNING
    station: str | None = None

    @model_validator(mode="after")
    def hysteresis_is_below(self) -> "AlertRule":
        """Refuse a recovery threshold above the firing one."""
        if self.recover_below is not None and self.recover_below > self.above:
            raise ValueError(f"recover_below ({self.recover_below}) must not exceed above ({self.above})")
        return self

    @model_validator(mode="after")
    def settings_are_of_its_kind(self) -> "AlertRule":
        """Refuse settings that this kind of rule does not read."""
        unread = (
            {"metric", "above", "recover_below", "min_n", "silent_windows"}
            if self.kind == "spc"
            else {"signals", "figures"}
        )
        if given := sorted(unread & self.model_fields_set):
            raise ValueError(f"a rule of kind {self.kind!r} does not read {', '.join(given)}; leave it out")
        return self


class WebhookChannel(Settings):
    """JSON by HTTP POST, with the idempotency key in a header. The address may carry ${ENVIRONMENT} variables."""

    kind: Literal["webhook"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)
    url: str


class AppriseChannel(Settings):
    """A mail, chat or other service, written as an apprise address; secrets as ${ENVIRONMENT} variables."""

    kind: Literal["apprise"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)
    url: str


class AlertsConfig(Settings):
    """Rules and whom to tell."""

    rules: tuple[AlertRule, ...] = ()
    channels: tuple[Annotated[WebhookChannel | AppriseChannel, Field(discriminator="kind")], ...] = ()

    @model_validator(mode="after")
    def names_are_given_once(self) -> "AlertsConfig":
        """Refuse two rules or two channels of one name: alerts and deliveries are told apart by it."""
        for what, entries in (("rule", self.rules), ("channel", self.channels)):
            names = [entry.name for entry in entries]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"alert {what} {twice[0]!r} is described twice")
        return self
