"""The ways out of the house: a webhook by HTTP, and every service apprise knows.

A sender says one message once. It raises `ChannelUnreachable` where trying again may help and `ChannelRefused` where
it will not; repeats carry the same idempotency key, so that a receiver can recognise them.
"""

import asyncio
import logging
import os
import re
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import apprise
import httpx
import msgspec

from alerts.words import title
from taktwatch.config import AppriseChannel, WebhookChannel
from taktwatch.errors import ConfigError, TaktwatchError
from taktwatch.records import AlertState, AlertTransition, Severity

__all__ = ["AppriseSender", "ChannelRefused", "ChannelUnreachable", "Sender", "WebhookSender", "expand", "open_sender"]

TIMEOUT_S = 10.0
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
TRY_AGAIN = frozenset({408, 425, 429})
"""The 4xx answers that mean "later", not "never"."""

# httpx logs every address at level INFO, and addresses of webhooks carry secrets.
logging.getLogger("httpx").setLevel(logging.WARNING)


class ChannelUnreachable(TaktwatchError):
    """The message did not arrive; the same message may arrive later."""


class ChannelRefused(TaktwatchError):
    """The receiver will never take this message; trying again is of no use."""


class Sender(Protocol):
    """One channel. `name` is the one in line.toml; no error and no log line may contain the address."""

    name: str

    async def send(self, transition: AlertTransition, key: str) -> None:
        """Deliver one message. Raises `ChannelUnreachable`, `ChannelRefused`."""

    async def close(self) -> None:
        """Release connections and threads."""


def expand(address: str, channel: str, environ: Mapping[str, str]) -> str:
    """Fill in `${VARIABLE}`; values are taken as they are, so what is special in an address must be percent-encoded.

    Raises `ConfigError` naming channel and variable where one is absent or empty.

    >>> expand("https://chat.example/${TOKEN}", "chat", {"TOKEN": "abc"})
    'https://chat.example/abc'
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if not environ.get(name):
            raise ConfigError(
                f"alert channel {channel!r} wants the environment variable {name}, which is not set; "
                "set it, or take the channel out of line.toml"
            )
        return environ[name]

    return VARIABLE.sub(value, address)


def open_sender(channel: WebhookChannel | AppriseChannel, environ: Mapping[str, str] = os.environ) -> Sender:
    """Return the sender of a channel. Raises `ConfigError` for an address that nobody understands."""
    address = expand(channel.url, channel.name, environ)
    match channel:
        case WebhookChannel():
            return WebhookSender(channel.name, address)
        case AppriseChannel():
            return AppriseSender(channel.name, address)


class WebhookSender:
    """POST of the transition as JSON; the key is in the header `Idempotency-Key` and in the body."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        try:
            self.url = httpx.URL(address)
        except httpx.InvalidURL:
            raise ConfigError(f"alert channel {name!r}: its url is no address; write https://host/path") from None
        if self.url.scheme not in {"http", "https"} or not self.url.host:
            raise ConfigError(
                f"alert channel {name!r}: a webhook's url starts with https:// or http:// and names a host"
            )
        self.client = httpx.AsyncClient(timeout=TIMEOUT_S)

    async def send(self, transition: AlertTransition, key: str) -> None:
        """Post once; 2xx is delivered, 408, 425, 429 and 5xx are worth another try, anything else is refused."""
        body = {"idempotency_key": key, "title": title(transition), **msgspec.to_builtins(transition)}
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        try:
            answer = await self.client.post(self.url, content=msgspec.json.encode(body), headers=headers)
        except httpx.HTTPError as error:
            raise ChannelUnreachable(f"channel {self.name!r} does not answer ({type(error).__name__})") from None
        if answer.is_success:
            return
        if answer.is_server_error or answer.status_code in TRY_AGAIN:
            raise ChannelUnreachable(f"channel {self.name!r} answers HTTP {answer.status_code}")
        raise ChannelRefused(f"channel {self.name!r} refuses the message with HTTP {answer.status_code}")

    async def close(self) -> None:
        """Close connections."""
        await self.client.aclose()


class AppriseSender:
    """A message by apprise, from a thread of this channel's own: one that hangs blocks no other."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.service = apprise.Apprise()
        with warnings.catch_warnings():
            # loading apprise's plugins imports a module that Python 3.11 and 3.12 call deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            understood = self.service.add(address)
        if not understood:
            raise ConfigError(
                f"alert channel {name!r}: apprise does not understand its url; percent-encode special characters of "
                "secrets, and see the list of services in apprise's documentation"
            )
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"apprise-{name}")

    async def send(self, transition: AlertTransition, key: str) -> None:
        """Send once; apprise says no more than whether it worked, so every failure is worth another try."""
        loop = asyncio.get_running_loop()
        try:
            delivered = await loop.run_in_executor(self.thread, self.notify, transition, key)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything, and its words may contain the address
            raise ChannelUnreachable(f"channel {self.name!r} failed ({type(error).__name__})") from None
        if not delivered:
            raise ChannelUnreachable(f"channel {self.name!r} did not take the message; apprise's log may say why")

    def notify(self, transition: AlertTransition, key: str) -> bool:
        """Send from this thread."""
        body = f"{transition.summary}\n\nas of {transition.at:%Y-%m-%d %H:%M} UTC, message {key}"
        kind = notify_type(transition)
        return bool(self.service.notify(title=title(transition), body=body, notify_type=kind))

    async def close(self) -> None:
        """Let the thread go; what it is sending is not waited for."""
        self.thread.shutdown(wait=False, cancel_futures=True)


def notify_type(transition: AlertTransition) -> Any:
    """How apprise should colour the message."""
    if transition.state is AlertState.RESOLVED:
        return apprise.NotifyType.SUCCESS
    match transition.severity:
        case Severity.CRITICAL:
            return apprise.NotifyType.FAILURE
        case Severity.WARNING:
            return apprise.NotifyType.WARNING
        case Severity.INFO:
            return apprise.NotifyType.INFO
