"""What this machine's processor computes with. By that, and not by its name, two machines round alike."""

import torch

__all__ = ["computes_in_bfloat16", "processor"]

LEVELS = (
    ("avx512_core_amx", ("amx_int8", "amx_bf16")),
    ("avx512_core_fp16", ("avx512_fp16",)),
    ("avx512_core_bf16", ("avx512_bf16",)),
    ("avx512_core_vnni", ("avx512_vnni",)),
    ("avx512_core", ("avx512_f", "avx512_bw", "avx512_dq", "avx512_vl")),
    ("avx2_vnni", ("avx_vnni",)),
    ("avx2", ("avx2",)),
)
"""oneDNN's names for the instructions that it chooses kernels by, and what they want, the newest first. Under torch,
OpenVINO and ONNX Runtime alike, results follow from them: without VNNI products of 8 bits are summed in 16, and
bfloat16 is imitated or not there at all."""


def processor() -> str:
    """Return "cpu", and the newest of oneDNN's sets of instructions that it has, else its architecture."""
    has = torch.cpu.get_capabilities()
    level = next((name for name, wanted in LEVELS if all(has.get(one) for one in wanted)), has["architecture"])
    return f"cpu {level}"


def computes_in_bfloat16() -> bool:
    """Whether the processor does; one that does not can imitate it, ten times as slowly as it computes in float32."""
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))
