"""Randomised trials of the KPI service on a real Kafka broker: kpi_trials.py [--trials 200] [--seed 1].

Members are killed, stopped past their session and woken, sent away and joined, the broker is killed, while windows
close; after each trial every published window is compared with the log folded in one go.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from kpi_disturbed import KINDS, Failed, line  # noqa: E402 - its folder was just made known
from servers.kafka import KafkaBroker  # noqa: E402


async def main(trials: int, seed: int, minutes: float, kinds: list[str]) -> bool:
    """Run the trials and print each; return whether all went well."""
    counts: Counter[str] = Counter()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="taktwatch-trials-") as folder:
        broker = KafkaBroker(Path(folder) / "kafka").start()
        try:
            async with line(broker, seed) as there:
                began = time.monotonic()
                windows = await there.trial("undisturbed")
                for number in range(trials):
                    if time.monotonic() - began > minutes * 60:
                        break
                    kind = there.chance.choice(kinds)
                    begun = time.monotonic()
                    counts[kind] += 1
                    try:
                        windows = await there.trial(kind)
                    except (Failed, TimeoutError) as error:
                        failed += 1
                        print(f"FAILED trial {number + 1} ({kind}): {type(error).__name__} {error}", flush=True)
                        break
                    print(f"{number + 1:4} {kind:17} {time.monotonic() - begun:5.1f} s {windows} windows", flush=True)
                records = sum(state.position for state in there.log.states.values())
                print(
                    f"{sum(counts.values())} trials {dict(counts)}: {failed} failed; {records:,} records, "
                    f"{len(there.log.expected):,} windows, {len(there.log.revisions):,} revisions, "
                    f"{there.log.repeats:,} published more than once, all alike"
                )
        finally:
            broker.kill()
    return failed == 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=120.0, help="stop after so long")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this kind; may be repeated")
    options = parser.parse_args()
    sys.exit(not asyncio.run(main(options.trials, options.seed, options.minutes, options.kind or list(KINDS))))
