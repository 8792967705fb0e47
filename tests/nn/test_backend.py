"""Tests of ``nn.backend``."""

import pytest

from fkd_kaggle.nn import backend


@pytest.mark.parametrize(
    ("vendor", "flags", "faster"),
    [
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16 avx512_fp16", False),
        ("AuthenticAMD", "avx2", False),
    ],
)
def test_bfloat16_is_used_where_it_is_faster(vendor: str, flags: str, faster: bool) -> None:
    cpuinfo = f"vendor_id\t: {vendor}\nflags\t\t: {flags}\n"
    assert backend.computes_bfloat16_faster(cpuinfo) is faster


def test_unknown_cpus_compute_in_float32() -> None:
    assert not backend.computes_bfloat16_faster("")
