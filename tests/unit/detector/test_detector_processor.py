"""By what a processor computes with, machines are alike; a proof made on one holds on the other."""

import pytest
import torch

from detector.engines.processor import processor

CORE = ("avx2", "avx512_f", "avx512_bw", "avx512_dq", "avx512_vl")
ZEN_4 = (*CORE, "avx512_vnni", "avx512_bf16")
SAPPHIRE_RAPIDS = (*ZEN_4, "avx_vnni", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16")


@pytest.mark.parametrize(
    ("has", "said"),
    [
        (SAPPHIRE_RAPIDS, "cpu avx512_core_amx"),
        ([one for one in SAPPHIRE_RAPIDS if not one.startswith("amx")], "cpu avx512_core_fp16"),
        (ZEN_4, "cpu avx512_core_bf16"),
        ((*CORE, "avx512_vnni"), "cpu avx512_core_vnni"),
        (CORE, "cpu avx512_core"),
        (("avx2", "avx512_f"), "cpu avx2"),
        (("avx2", "avx_vnni"), "cpu avx2_vnni"),
        ((), "cpu x86_64"),
    ],
)
def test_the_newest_instructions_name_a_processor(monkeypatch: pytest.MonkeyPatch, has: list[str], said: str) -> None:
    known = {"architecture": "x86_64", "avx512_vnni": False, **dict.fromkeys(has, True)}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    assert processor() == said


def test_this_processor_has_a_name() -> None:
    assert processor().startswith("cpu ")
