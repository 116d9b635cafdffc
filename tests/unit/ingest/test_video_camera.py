"""Video files and live streams through the real OpenCV, the live one over HTTP on loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from ingest.cameras import Found, Lost, Resume, Shot, traits
from ingest.cameras.video import VideoCamera
from taktwatch.config import VideoSource
from taktwatch.errors import ConfigError
from taktwatch.pictures import decode, encode_jpeg

NOW = datetime(2026, 3, 3, tzinfo=UTC)


def grey(level: int) -> np.ndarray:
    return np.full((48, 64, 3), level, np.uint8)


@pytest.fixture
def video(tmp_path: Path) -> str:
    """Ten frames, each 20 levels brighter than the one before."""
    path = str(tmp_path / "line.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for index in range(10):
        writer.write(grey(20 * index))
    writer.release()
    return path


def shots(camera: VideoCamera, resume: Resume | None = None) -> list[Shot]:
    return [event for event in camera.events(resume or Resume(), threading.Event()) if isinstance(event, Shot)]


def levels(taken: list[Shot]) -> list[int]:
    return [round(float(decode(shot.data).mean()) / 20) for shot in taken]


def test_a_file_gives_every_frame_without_loss(video: str) -> None:
    taken = shots(VideoCamera(video))
    assert levels(taken) == list(range(10))
    assert {shot.media_type for shot in taken} == {"image/png"}
    assert all(shot.taken_at is None and shot.sound for shot in taken)


def test_every_nth_frame_is_taken(video: str) -> None:
    assert levels(shots(VideoCamera(video, every_nth=3))) == [0, 3, 6, 9]


def test_a_restart_goes_on_with_the_next_frame(video: str) -> None:
    whole = shots(VideoCamera(video, every_nth=2))
    assert shots(VideoCamera(video, every_nth=2), Resume(3)) == whole[3:]


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.avi").write_text("hello")
    with pytest.raises(ConfigError, match=r"notes\.avi cannot be opened"):
        shots(VideoCamera(str(tmp_path / "notes.avi")))


@pytest.mark.parametrize("target", ["0", "rtsp://camera/stream", "line.avi"])
def test_devices_and_addresses_are_live_and_files_are_not(target: str) -> None:
    live = traits(VideoSource(kind="video", target=target)).clocked
    assert live is (target != "line.avi")


@contextmanager
def motion_jpeg(frames: int) -> Iterator[str]:
    """Serve a camera's multipart stream that breaks off after so many frames, every time it is opened."""
    body = encode_jpeg(np.asarray(grey(100), np.uint8))

    class Stream(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for _ in range(frames):
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
                self.wfile.write(head.encode() + body + b"\r\n")

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stream)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/line.mjpg"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_stream_that_breaks_off_is_lost_and_taken_up_again() -> None:
    with motion_jpeg(frames=12) as address:
        camera = VideoCamera(address, stamp=lambda: NOW, first_pause_s=0.01)
        kinds: list[str] = []
        for event in camera.events(Resume(), threading.Event()):
            if not kinds or kinds[-1] != type(event).__name__:
                kinds.append(type(event).__name__)
            if isinstance(event, Shot):
                assert event.taken_at == NOW
                assert abs(float(decode(event.data).mean()) - 100) < 3
            if kinds.count("Shot") == 2:
                break
    assert kinds == ["Found", "Shot", "Lost", "Found", "Shot"]


def test_a_camera_that_does_not_answer_is_lost_and_tried_again_ever_more_slowly() -> None:
    camera = VideoCamera("rtsp://127.0.0.1:9/nothing", stamp=lambda: NOW, first_pause_s=0.01)
    lost = list(islice(camera.events(Resume(), threading.Event()), 3))
    assert all(isinstance(event, Lost) for event in lost)
    assert [event.reason.rpartition("in ")[2] for event in lost if isinstance(event, Lost)] == [
        "0.01 s",
        "0.02 s",
        "0.04 s",
    ]
    assert not any(isinstance(event, Found) for event in lost)
