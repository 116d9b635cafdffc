"""Reviews are found by the time they were made, on every bus."""

from datetime import timedelta

import msgspec
from contracts.bus_backends import Backend
from contracts.bus_helpers import opened, run

from dashboards.console.reviewing import logged
from taktwatch.bus import Outgoing
from taktwatch.clock import now
from taktwatch.records import Review, frame_id
from taktwatch.reviews import EXAMPLES, SKEW
from taktwatch.wire import encode


def test_reviews_are_found_by_when_they_were_made_and_in_the_order_they_were_logged(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("reviews")
        async with opened(backend, spec) as bus:
            assert await logged(bus, spec.name, now() - timedelta(days=1)) == []
            begun = now()
            made: list[Review] = []
            for number in range(20):
                review = msgspec.structs.replace(
                    EXAMPLES[number % 6], frame_id=frame_id("l", "s", "x", number), reviewed_at=now()
                )
                value, headers = encode(review)
                await bus.publish([Outgoing(spec.name, b"line-1", value, headers)])
                made.append(review)
            await bus.publish([Outgoing(spec.name, b"line-1", b"nonsense")])
            for since in (begun, begun - timedelta(days=400)):
                assert await logged(bus, spec.name, since) == made
            assert await logged(bus, spec.name, now() + SKEW + timedelta(minutes=1)) == []

    run(main())
