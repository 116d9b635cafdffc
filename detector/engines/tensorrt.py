"""How TensorRT is set up within ONNX Runtime: the shapes each part may be given, and the provider's options. Pure.

TensorRT compiles a graph for a range of shapes and tunes it for one of them. What lies outside of the range it refuses.
Options are those of https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from detector.engines.between import Rules
from detector.model import STRIDE_PX

__all__ = ["Profile", "part_profiles", "provider_options"]

USUAL_PX = 640
"""The side of a picture that the trunk is tuned for."""
USUAL_FINDINGS = 8
"""Masks of a picture that the mask head is tuned for."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Shapes that a part may be given: each side from `least` to `most`; it is tuned for `usual`."""

    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether numbers of a shape may be given to the part.

        >>> Profile((1, 3), (2, 3), (4, 3)).fits((4, 3)), Profile((1, 3), (2, 3), (4, 3)).fits((0, 3))
        (True, False)
        """
        return all(low <= side <= high for low, side, high in zip(self.least, shape, self.most, strict=True))


def part_profiles(rules: Rules, width: int, *, together: int, most_px: int) -> tuple[Profile, Profile, Profile]:
    """Return the profiles of trunk, box head and mask head (see `detector.engines.parts` for their shapes).

    width: channels of the features; together: pictures of a batch, at most; most_px: their sides, at most.
    """
    most = max(STRIDE_PX, -(-most_px // STRIDE_PX) * STRIDE_PX)
    usual = min(USUAL_PX, most)
    box, mask = ((side, side, width) for side in (rules.box_side, rules.mask_side))
    proposals, findings = rules.proposals * together, rules.detections * together
    return (
        Profile((1, 3, STRIDE_PX, STRIDE_PX), (together, 3, usual, usual), (together, 3, most, most)),
        Profile((1, *box), (proposals, *box), (proposals, *box)),
        Profile((1, *mask), (min(USUAL_FINDINGS * together, findings), *mask), (findings, *mask)),
    )


def provider_options(name: str, profile: Profile, cache: Path, *, half: bool) -> dict[str, str]:
    """Return the provider's options for a part whose input is called `name`.

    Engines, once compiled, are kept in a folder under `cache` that these options name; `half` allows float16.

    >>> options = provider_options("cells", Profile((1, 7), (8, 7), (64, 7)), Path("cache"), half=True)
    >>> options["trt_profile_min_shapes"], options["trt_profile_max_shapes"], options["trt_fp16_enable"]
    ('cells:1x7', 'cells:64x7', '1')
    """
    options = {
        "trt_fp16_enable": str(int(half)),
        "trt_profile_min_shapes": f"{name}:{_joined(profile.least)}",
        "trt_profile_opt_shapes": f"{name}:{_joined(profile.usual)}",
        "trt_profile_max_shapes": f"{name}:{_joined(profile.most)}",
    }
    folder = str(cache / _named(options))
    return options | {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }


def _joined(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _named(options: Mapping[str, str]) -> str:
    """Name a cache by what its engines are compiled for."""
    return hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest()[:12]
