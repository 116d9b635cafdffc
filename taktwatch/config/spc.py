"""Control charts: of which figures, and what counts as a signal."""

from typing import Any, Literal

from pydantic import Field, model_validator

from taktwatch.config.base import Settings

__all__ = ["ChartedFigure", "Signal", "SpcConfig"]

ChartName = Literal["laney_ewma", "laney", "laney_cusum", "shewhart", "ewma", "cusum"]

Signal = Literal[
    "1 point beyond the control limits",
    "2 of 3 points beyond 2 sigma on the same side",
    "4 of 5 points beyond 1 sigma on the same side",
    "8 points in a row on one side of the centre line",
    "9 points in a row on one side of the centre line",
    "6 points in a row all rising or all falling",
    "14 points in a row alternating up and down",
    "15 points in a row within 1 sigma of the centre line",
    "8 points in a row beyond 1 sigma, on either side",
    "more events without a good unit between them than chance allows",
]
"""The rules of control charts, in the words their signals are told with."""

ChartedFigure = Literal[
    "defect_rate",
    "review_rate",
    "dead_rate",
    "first_pass_yield",
    "dpu",
    "boards_between_fails",
    "extent",
    "depth",
    "depth_um",
]
"""What control charts are kept of: rates, good boards between failed ones, and what is measured in sections."""


class SpcConfig(Settings):
    """Control charts: windows are merged until `min_n` boards are together, or `least_n` after `max_age_hours`.

    Where nobody chose a baseline, limits are learnt from the first `phase1_subgroups`. `metric = "dpu"` means
    `metrics = ["dpu"]`.
    """

    metrics: tuple[ChartedFigure, ...] = Field(default=("defect_rate",), min_length=1)
    min_n: int = Field(default=500, ge=1)
    least_n: int = Field(default=100, ge=1)
    max_age_hours: float = Field(default=8.0, gt=0)
    sections: int = Field(
        default=25, ge=1, description="sections a subgroup of extent and depth; 1: single values with moving range"
    )
    phase1_subgroups: int = Field(default=25, ge=20, le=1000)
    charts: tuple[ChartName, ...] = Field(default=("laney_ewma",), min_length=1)
    rules: Literal["limits", "western_electric", "nelson"] = Field(
        default="limits",
        description="what laney, shewhart, xbar_s and imr charts signal; the others judge their limits alone",
    )

    @model_validator(mode="before")
    @classmethod
    def one_metric_is_a_list_of_one(cls, given: Any) -> Any:
        """Take the older key for what it means; refuse both at once."""
        if not isinstance(given, dict) or "metric" not in given:
            return given
        if "metrics" in given:
            raise ValueError("metric and metrics are both given; name all figures in metrics and leave metric out")
        return {**{key: value for key, value in given.items() if key != "metric"}, "metrics": [given["metric"]]}

    @model_validator(mode="after")
    def figures_are_named_once(self) -> "SpcConfig":
        """Refuse a figure twice."""
        if twice := sorted({name for name in self.metrics if self.metrics.count(name) > 1}):
            raise ValueError(f"{twice[0]} is named twice in metrics")
        return self

    @model_validator(mode="after")
    def sizes_fit_together(self) -> "SpcConfig":
        """Refuse a least size above the wanted one."""
        if self.least_n > self.min_n:
            raise ValueError(f"least_n ({self.least_n}) must not exceed min_n ({self.min_n})")
        return self
