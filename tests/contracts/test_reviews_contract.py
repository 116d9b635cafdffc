"""Reviews are found by the time they were made, on every bus."""

from datetime import timedelta

import msgspec
from contracts.bus_backends import Backend
from contracts.bus_helpers import opened, run

from dashboards.console.reviewing import logged
from taktwatch.bus import Outgoing
from taktwatch.clock import now
from taktwatch.records import Review, frame_id
from taktwatch.reviews import EXAMPLES
from taktwatch.wire import encode


def test_reviews_are_found_by_when_they_were_made_and_in_the_order_they_were_logged(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("reviews")
        async with opened(backend, spec) as bus:
            assert await logged(bus, spec.name, now() - timedelta(days=1), now()) == []
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
            assert await logged(bus, spec.name, begun, now()) == made
            assert await logged(bus, spec.name, made[5].reviewed_at, made[9].reviewed_at) == made[5:9]
            assert await logged(bus, spec.name, begun - timedelta(days=400), begun) == []
            assert await logged(bus, spec.name, now(), now() + timedelta(days=1)) == []

    run(main())
