"""Events to many pages: order, coming back, and falling behind."""

import asyncio

from dashboards.console.hub import Hub


def test_every_client_gets_every_event_in_order() -> None:
    async def main() -> list[list[str]]:
        hub = Hub("e")
        with hub.subscribe(None) as one, hub.subscribe(None) as two:
            hub.publish("mark", "1")
            hub.publish("result", "2")
            return [[(await client.queue.get()).id for _ in range(2)] for client in (one, two)]

    assert asyncio.run(main()) == [["e-1", "e-2"], ["e-1", "e-2"]]


def test_a_client_that_comes_back_gets_what_it_missed() -> None:
    async def main() -> None:
        hub = Hub("e")
        for number in range(5):
            hub.publish("mark", str(number))
        with hub.subscribe("e-3") as client:
            assert [event.id for event in client.missed] == ["e-4", "e-5"]
        with hub.subscribe("e-5") as client:
            assert client.missed == []

    asyncio.run(main())


def test_a_client_of_another_run_or_from_too_long_ago_starts_anew() -> None:
    async def main() -> None:
        hub = Hub("new", keep=3)
        for number in range(9):
            hub.publish("mark", str(number))
        for id_ in (None, "old-8", "new-2", "nonsense"):
            with hub.subscribe(id_) as client:
                assert client.missed is None

    asyncio.run(main())


def test_a_slow_client_is_sent_away_and_holds_nobody_up() -> None:
    async def main() -> None:
        hub = Hub("e", depth=3)
        with hub.subscribe(None) as slow:
            for number in range(3):
                hub.publish("mark", str(number))
            with hub.subscribe(None) as quick:
                hub.publish("mark", "one too many")
                assert (await quick.queue.get()).data == "one too many"
            farewell = await slow.queue.get()
            assert (farewell.name, farewell.id) == ("resync", "")
            assert await slow.queue.get() is None
            assert slow.queue.empty()
            assert slow not in hub.clients
            hub.publish("mark", "after")
            assert slow.queue.empty()

    asyncio.run(main())


def test_closing_ends_the_streams_of_now_and_of_later() -> None:
    async def main() -> None:
        hub = Hub("e")
        with hub.subscribe(None) as before:
            hub.close()
            with hub.subscribe(None) as after:
                assert await before.queue.get() is None
                assert await after.queue.get() is None

    asyncio.run(main())
