"""Every layer of PyTorch's module database: a few samples in float64 here, all of them in both dtypes when slow.

What is not there yet, or differs on purpose, stands in ``GAPS`` with its reason; an entry that has become right fails.
"""

from __future__ import annotations

import pytest

from tests.parity.module_gaps import GAPS
from tests.parity.modules import DTYPES, MODULES, run


@pytest.mark.parametrize("name", sorted(MODULES))
def test_module(name: str) -> None:
    _check(name, "float64", 3)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(MODULES))
def test_all_samples(name: str, dtype: str) -> None:
    _check(name, dtype, 100)


def _check(name: str, dtype: str, most: int) -> None:
    reason = GAPS.get(name) or GAPS.get(f"{name} {dtype}")
    found = run(name, dtype, most)
    if found == "skip":
        pytest.skip(f"PyTorch has no {dtype} of it")
    if reason and found is not None:
        pytest.xfail(reason)
    if reason:
        pytest.fail(f"right now: take it out of GAPS ({reason})")
    assert found is None, found


def test_no_gap_is_named_that_is_none() -> None:
    assert {name.split(" ")[0] for name in GAPS} <= set(MODULES)
