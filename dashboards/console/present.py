"""Records become answers of the API: pure, one function per kind of thing shown."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from html import escape

from dashboards.console import schema
from dashboards.console.outlines import Outline, path_data
from dashboards.console.view import (
    Board,
    LiveView,
    StationView,
    board_named,
    station_state,
    takt_s,
    verdict_name,
    waiting,
)
from taktwatch.records import (
    STRUCTURES,
    AlertTransition,
    Detection,
    InspectionResult,
    LayerProfile,
    Outcome,
    Place,
    Review,
    Severity,
    Verdict,
)
from taktwatch.reviews import board_of

__all__ = [
    "alert_out",
    "alerts_out",
    "board_out",
    "detail_out",
    "outlines_out",
    "overlay_svg",
    "review_out",
    "station_out",
    "structure",
]

DEFECT_COLOUR = "#ff4d5e"
STRUCTURE_COLOUR = "#39c5ff"
LOUDNESS = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


def structure(label: str) -> bool:
    """Say whether a class belongs there.

    >>> structure("copper_layer"), structure("short")
    (True, False)
    """
    return label in STRUCTURES


def board_out(board: Board) -> schema.BoardOut:
    """Return a result in short."""
    return schema.BoardOut(**summary(board.result), detections=tuple(detection_out(d) for d in board.result.detections))


def summary(result: InspectionResult) -> dict[str, object]:
    """Return the fields that the short and the long answer share."""
    return {
        "frame_id": result.frame_id,
        "station": result.station,
        "product": result.product,
        "view": result.view,
        "lot": result.lot,
        "serial": result.serial,
        "session": result.session,
        "seq": result.seq,
        "visit": result.visit,
        "event_at": result.event_at,
        "taken_at": result.taken_at,
        "inspected_at": result.inspected_at,
        "verdict": verdict_name(result),
        "reasons": result.reasons,
        "doubts": result.doubts,
        "latency_ms": (result.inspected_at - result.received_at) / timedelta(milliseconds=1),
        "has_picture": result.place is not None and result.outcome is not Outcome.DEAD,
    }


def detection_out(detection: Detection) -> schema.DetectionOut:
    """Return a detection without its mask."""
    return schema.DetectionOut(
        label=detection.label,
        score=detection.score,
        box_px=detection.box_px,
        area_px=detection.area_px,
        area_um2=detection.area_um2,
        structure=structure(detection.label),
    )


def detection_detail(detection: Detection) -> schema.DetectionDetail:
    """Return a detection with its mask."""
    return schema.DetectionDetail(
        label=detection.label,
        score=detection.score,
        box_px=detection.box_px,
        area_px=detection.area_px,
        area_um2=detection.area_um2,
        structure=structure(detection.label),
        mask=schema.RleOut(size=detection.mask.size, counts=detection.mask.counts),
    )


def detail_out(board: Board, verdict: Verdict | None) -> schema.ResultDetail:
    """Return everything recorded about a frame, and its board's verdict."""
    result = board.result
    return schema.ResultDetail(
        **summary(result),
        line=result.line,
        board_id=board_named(result),
        board_verdict=None if verdict is None else str(verdict),
        received_at=result.received_at,
        outcome=str(result.outcome),
        sha256=result.sha256,
        um_per_px=result.um_per_px,
        detections=tuple(detection_detail(d) for d in result.detections),
        layers=tuple(layer_out(layer) for layer in result.layers),
        opportunities=result.opportunities,
        model=None if result.model is None else schema.ModelOut.model_validate(result.model, from_attributes=True),
        config_sha256=result.config_sha256,
        template_sha256=result.template_sha256,
        registration=None
        if result.registration is None
        else schema.RegistrationOut.model_validate(result.registration, from_attributes=True),
        timings_us=result.timings_us,
        frame_place=None if result.place is None else place_out(result.place),
        result_place=place_out(board.place),
        logged_at=board.logged_at,
    )


def place_out(place: Place) -> schema.PlaceOut:
    """Return a place in the log."""
    return schema.PlaceOut(topic=place.topic, partition=place.partition, offset=place.offset)


def layer_out(layer: LayerProfile) -> schema.LayerOut:
    """Return a layer's corrosion, shares made of its pixel counts."""
    return schema.LayerOut.model_validate(layer, from_attributes=True)


def outlines_out(result: InspectionResult, outlines: Iterable[Outline]) -> schema.OutlinesOut:
    """Return the outlines of a frame; structure comes first, so that defects are drawn over it."""
    height, width = result.detections[0].mask.size if result.detections else (0, 0)
    drawn = sorted(outlines, key=lambda outline: not structure(outline.label))
    return schema.OutlinesOut(
        frame_id=result.frame_id,
        width=width,
        height=height,
        outlines=tuple(
            schema.OutlineOut(
                label=outline.label,
                score=outline.score,
                structure=structure(outline.label),
                polygons=outline.polygons,
                path=path_data(outline.polygons),
            )
            for outline in drawn
        ),
    )


def overlay_svg(drawn: schema.OutlinesOut) -> str:
    """Return outlines as an SVG document in frame pixels."""
    paths = "".join(
        f'<path d="{one.path}" stroke="{STRUCTURE_COLOUR if one.structure else DEFECT_COLOUR}">'
        f"<title>{escape(one.label)} {one.score:.2f}</title></path>"
        for one in drawn.outlines
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawn.width} {drawn.height}" '
        f'width="{drawn.width}" height="{drawn.height}"><g fill="none" stroke-width="2">{paths}</g></svg>'
    )


def station_out(station: StationView, now: datetime, silent_after: timedelta) -> schema.StationOut:
    """Return a station as it is at wall time `now`."""
    last = station.boards[0] if station.boards else None
    return schema.StationOut(
        station=station.station,
        product=station.product,
        state=str(station_state(station, now, silent_after)),
        heard_at=station.heard_at,
        verdict_at=None if last is None else last.logged_at,
        takt_s=takt_s(station),
        waiting=waiting(station),
        mark=None if station.mark is None else schema.MarkOut.model_validate(station.mark, from_attributes=True),
        last=None if last is None else board_out(last),
    )


def review_out(review: Review) -> schema.ReviewOut:
    """Return a review."""
    told = {name: getattr(review, name) for name in schema.ReviewOut.model_fields if name != "board_id"}
    return schema.ReviewOut(**told, board_id=board_of(review))


def alert_out(view: LiveView, transition: AlertTransition) -> schema.AlertOut:
    """Return an alert with what is known of its beginning and of who was told."""
    steps = [step.at for step in view.history if step.alert_id == transition.alert_id]
    return schema.AlertOut(
        alert_id=transition.alert_id,
        rule=transition.rule,
        severity=str(transition.severity),
        labels=transition.labels,
        state=str(transition.state),
        at=transition.at,
        since=min([*steps, transition.at]),
        value=transition.value,
        n=transition.n,
        summary=transition.summary,
        window_start=transition.window_start,
        revision=transition.revision,
        notices=tuple(
            schema.NoticeOut.model_validate(notice, from_attributes=True)
            for notice in view.notifications
            if notice.alert_id == transition.alert_id
        ),
    )


def alerts_out(view: LiveView, limit: int = 50) -> schema.AlertsOut:
    """Return the open alerts, loudest first, and the newest transitions."""
    loudest = sorted(view.open.values(), key=lambda alert: (LOUDNESS[alert.severity], alert.at))
    return schema.AlertsOut(
        open=tuple(alert_out(view, alert) for alert in loudest),
        history=tuple(alert_out(view, alert) for alert in view.history[:limit]),
    )
