"""Every public operator of PyTorch's database: a few samples of each in float64 here, all dtypes and more when slow.

What is not there yet, or differs on purpose, stands in ``GAPS`` with its reason; an entry that has become right fails.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.gaps import GAPS
from tests.parity.operators import DTYPES, full_name, public, run

OPERATORS = {full_name(op): op for op in public()}


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_operator(name: str) -> None:
    _check(name, "float64", 4)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_operator_in_every_dtype(name: str, dtype: str) -> None:
    _check(name, dtype, 12)


def _check(name: str, dtype: str, most: int) -> None:
    reason: Any = GAPS.get(name) or GAPS.get(f"{name} {dtype}")
    found = run(OPERATORS[name], dtype, most=most)
    if reason and found not in (None, "skip"):
        pytest.xfail(reason)
    if reason and found is None:
        pytest.fail(f"right now: take it out of GAPS ({reason})")
    if found == "skip":
        pytest.skip(f"PyTorch has no {dtype} of it")
    assert found is None, found


def test_no_gap_is_named_that_is_none() -> None:
    unknown = {n.split(" ")[0] for n in GAPS} - set(OPERATORS)
    assert not unknown
