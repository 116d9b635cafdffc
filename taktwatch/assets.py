"""Golden templates by hash: published once, found again as long as a result names them."""

import hashlib

from taktwatch.bus import Bus, Outgoing
from taktwatch.errors import BadRecord, RecordNotFound
from taktwatch.records import Asset
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

__all__ = ["fetch_asset", "make_asset", "publish_asset"]


def make_asset(body: bytes, kind: str, media_type: str) -> Asset:
    """Return bytes with their SHA-256 as their name."""
    return Asset(sha256=hashlib.sha256(body).hexdigest(), kind=kind, media_type=media_type, body=body)


async def publish_asset(bus: Bus, topics: Topics, asset: Asset) -> None:
    """Put an asset on the bus; repeating it is harmless (the topic is compacted by hash)."""
    value, headers = encode(asset)
    await bus.publish([Outgoing(topics.assets, asset.sha256.encode(), value, headers)])


async def fetch_asset(bus: Bus, topics: Topics, sha256: str) -> Asset:
    """Return the asset of that hash. Raises `RecordNotFound`; `BadRecord` where its bytes hash to another name."""
    message = await bus.last(topics.assets, sha256.encode())
    if message is None:
        raise RecordNotFound(f"no template {sha256[:12]} in {topics.assets}; was it published before the frame?")
    asset = decode(message.value, message.headers)
    if not isinstance(asset, Asset) or hashlib.sha256(asset.body).hexdigest() != sha256:
        raise BadRecord(f"template {sha256[:12]} does not hash to its name; it was damaged or edited")
    return asset
