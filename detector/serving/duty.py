"""Which models take the next frames, which stand by, and when the detector goes back to those before. No I/O.

A model that is switched to is on probation: the one before stays warm until so many results were published. If the
new one errs before, the frames that it had go to the one before, as do all that follow.
"""

from collections.abc import Callable
from weakref import WeakSet

from detector.failsafe import SafeEngine
from detector.inspect import Inspector

__all__ = ["Duty"]


class Duty:
    """`current` takes every frame that is prepared from now on; what another took, that one ends.

    `on_return` hears why a model was given up, `on_proved` that a model passed its probation.
    """

    def __init__(
        self,
        current: Inspector,
        *,
        probation_frames: int,
        on_return: Callable[[str], None],
        on_proved: Callable[[], None],
    ) -> None:
        self.current = current
        self.former: Inspector | None = None
        self.probation_frames = probation_frames
        self.on_return, self.on_proved = on_return, on_proved
        self._left = 0
        self._given_up: WeakSet[Inspector] = WeakSet()

    def switch(self, inspector: Inspector) -> None:
        """Let `inspector` take the frames from now on, on probation.

        A switch during a probation keeps the model that has proved itself as the one to go back to.
        """
        self.former = self.former or self.current
        self.current = inspector
        self._left = self.probation_frames
        for engine in self._new_engines():
            engine.strict = True

    def went_back(self, inspector: Inspector, why: str) -> bool:
        """Give `inspector` up if it is on probation; say whether the frames it failed go to the models before it."""
        if inspector in self._given_up:
            return True
        if inspector is not self.current or self.former is None:
            return False
        self._given_up.add(inspector)
        self.current, self.former = self.former, None
        self.on_return(why)
        return True

    def proved(self, inspector: Inspector) -> None:
        """Count a published result of `inspector`; after enough of them the one before is let go."""
        if inspector is not self.current or self.former is None:
            return
        self._left -= 1
        if self._left <= 0:
            for engine in self._new_engines():
                engine.strict = False
            self.former = None
            self.on_proved()

    def _new_engines(self) -> list[SafeEngine]:
        """Return the engines that the models before do not have."""
        former = [] if self.former is None else list(self.former.engines.values())
        engines = [engine for engine in self.current.engines.values() if isinstance(engine, SafeEngine)]
        return [engine for engine in engines if engine not in former]
