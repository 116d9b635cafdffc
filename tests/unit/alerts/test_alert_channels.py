"""Channels against real receivers: what arrives, what is worth another try, and that no address is given away."""

import asyncio
import socket
from contextlib import closing

import pytest
from unit.alerts.receiver import receiver
from unit.alerts.timeline import fold_windows, window

from alerts.channels import ChannelRefused, ChannelUnreachable, Sender, open_sender
from alerts.outbox import message_key, worth_telling
from taktwatch.config import AlertRule, AppriseChannel, WebhookChannel
from taktwatch.errors import ConfigError
from taktwatch.records import AlertTransition

RULE = AlertRule(name="defect-rate", above=0.25, recover_below=0.15, for_windows=2, keep_windows=2, min_n=10)


def transitions() -> list[AlertTransition]:
    _, told = fold_windows(RULE, [window(word, at) for at, word in enumerate(["31", "31", "8", "31", "8", "8"])])
    return [transition for transition in told if transition]


FIRING = transitions()[1]


async def send_once(sender: Sender, transition: AlertTransition = FIRING) -> None:
    try:
        await sender.send(transition, message_key(transition, sender.name))
    finally:
        await sender.close()


def webhook(port: int, path: str = "") -> Sender:
    return open_sender(WebhookChannel(kind="webhook", name="mes", url=f"http://127.0.0.1:{port}{path}"), {})


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def test_a_webhook_gets_the_transition_as_json_with_its_key() -> None:
    with receiver() as mes:
        asyncio.run(send_once(webhook(mes.port)))
    [(key, body)] = mes.posts
    assert key == body["idempotency_key"] == f"{FIRING.alert_id}-firing-20260303T120100-1-mes"
    assert body["summary"] == "defect rate 31 % (n = 100) above 25 % at line-1/top for 2 windows"
    assert body["title"] == "FIRING (warning): defect-rate at line-1/top"
    assert body["labels"] == {"line": "line-1", "station": "top", "product": "demo-board"}
    assert (body["value"], body["n"], body["at"]) == (0.31, 100, "2026-03-03T12:02:00Z")


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_an_answer_that_means_later_is_worth_another_try(status: int) -> None:
    with receiver(status) as mes, pytest.raises(ChannelUnreachable, match=f"HTTP {status}"):
        asyncio.run(send_once(webhook(mes.port)))


@pytest.mark.parametrize("status", [301, 400, 401, 404])
def test_an_answer_that_means_never_is_final(status: int) -> None:
    with receiver(status) as mes, pytest.raises(ChannelRefused, match=f"HTTP {status}"):
        asyncio.run(send_once(webhook(mes.port)))


def test_a_receiver_that_is_away_is_worth_another_try_and_its_address_stays_secret() -> None:
    with pytest.raises(ChannelUnreachable) as caught:
        asyncio.run(send_once(webhook(free_port(), "/token-4711")))
    assert "4711" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["mes.example/hook", "ftp://mes.example", "https:///hook", "http://a:b:c"])
def test_an_address_that_is_none_is_refused_at_the_start_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="alert channel 'mes'") as caught:
        open_sender(WebhookChannel(kind="webhook", name="mes", url=url), {})
    assert url not in str(caught.value)


def test_secrets_come_from_the_environment() -> None:
    with receiver() as mes:
        channel = WebhookChannel(kind="webhook", name="mes", url="http://127.0.0.1:${PORT}/${TOKEN}")
        asyncio.run(send_once(open_sender(channel, {"PORT": str(mes.port), "TOKEN": "x"})))
    assert len(mes.delivered) == 1


@pytest.mark.parametrize("environ", [{}, {"TOKEN": ""}])
def test_a_missing_secret_is_named_at_the_start(environ: dict[str, str]) -> None:
    channel = AppriseChannel(kind="apprise", name="chat", url="json://127.0.0.1/${TOKEN}")
    with pytest.raises(ConfigError, match="'chat' wants the environment variable TOKEN"):
        open_sender(channel, environ)


def test_apprise_delivers_title_and_summary() -> None:
    with receiver() as chat:
        url = f"json://127.0.0.1:{chat.port}/"
        asyncio.run(send_once(open_sender(AppriseChannel(kind="apprise", name="chat", url=url), {})))
    [(_, body)] = chat.posts
    assert body["title"] == "FIRING (warning): defect-rate at line-1/top"
    assert body["message"].startswith("defect rate 31 % (n = 100) above 25 % at line-1/top for 2 windows\n")
    assert f"{FIRING.alert_id}-firing-20260303T120100-1-chat" in body["message"]
    assert body["type"] == "warning"


def test_apprise_failing_is_worth_another_try() -> None:
    with receiver(503) as chat:
        channel = AppriseChannel(kind="apprise", name="chat", url=f"json://127.0.0.1:{chat.port}/")
        with pytest.raises(ChannelUnreachable):
            asyncio.run(send_once(open_sender(channel, {})))


def test_an_address_that_apprise_does_not_understand_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="alert channel 'chat': apprise does not understand its url") as caught:
        open_sender(AppriseChannel(kind="apprise", name="chat", url="nonsense://secret-4711"), {})
    assert "4711" not in str(caught.value)


def test_people_hear_of_beginnings_and_ends_only() -> None:
    steps = [(transition.state.value, worth_telling(transition)) for transition in transitions()]
    assert steps == [
        ("pending", False),
        ("firing", True),
        ("recovering", False),
        ("firing", False),
        ("recovering", False),
        ("resolved", True),
    ]


def test_people_hear_that_a_station_fell_silent_and_that_it_is_back() -> None:
    silence = AlertRule(name="silent", kind="no_data", silent_windows=2)
    _, told = fold_windows(silence, [window(word, at) for at, word in enumerate([".", ".", "3"])])
    steps = [(transition.state.value, worth_telling(transition)) for transition in told if transition]
    assert steps == [("pending", False), ("no_data", True), ("resolved", True)]
