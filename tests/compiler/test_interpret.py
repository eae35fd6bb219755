"""The NumPy interpreter of kernels, against direct NumPy expressions and published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom.compiler.interpret import interpret_contract, interpret_nest
from gradloom.compiler.loops import Access, Contract, Inst, Nest


def test_contract_with_bias_and_relu() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 4, 6)).astype(np.float32), rng.normal(size=(5, 6)).astype(np.float32)
    bias, out = rng.normal(size=5).astype(np.float32), np.zeros((3, 4, 5), np.float32)
    accesses = (
        Access(0, "f32", ("s", "s", "1")),
        Access(1, "f32", ("0", "1", "s")),  # B is stored transposed and shared by the batch
        Access(2, "f32", ("0", "0", "1")),
        Access(3, "f32", ("s", "s", "1")),
    )
    body = (
        Inst("acc", "f32"),
        Inst("load", "f32", (), (2,)),
        Inst("add", "f32", (0, 1)),
        Inst("const", "f32", (), (0.0,)),
        Inst("max", "f32", (2, 3)),
    )
    contract = Contract("f32", 1, accesses, body, ((4, 3),))
    interpret_contract(contract, (3, 4, 5, 6), [(0, 24, 6), (0, 6), (0,), (0, 20, 5)], [a, b, bias, out])
    np.testing.assert_allclose(out, np.maximum(a @ b.T + bias, 0), rtol=1e-5, atol=1e-6)


def test_rows_with_a_negative_stride_and_a_gather() -> None:
    x = np.arange(12, dtype=np.float64).reshape(3, 4)
    table, index, out = np.array([10.0, 20.0, 30.0]), np.array([2, 0, 1], np.int32), np.zeros(3)
    accesses = (
        Access(0, "f64", ("s", "s")),
        Access(1, "i32", ("1", "0")),
        Access(2, "f64", ("0", "0"), indexed=True),
        Access(3, "f64", ("1", "0")),
    )
    body = (
        Inst("load", "f64", (), (0,)),
        Inst("iota", "i64", (), (1,)),
        Inst("cast", "f64", (1,)),
        Inst("mul", "f64", (0, 2)),
        Inst("reduce", "f64", (3,), ("sum",)),
        Inst("load", "i32", (), (1,)),
        Inst("load_at", "f64", (5,), (2,)),
        Inst("add", "f64", (4, 6)),
    )
    nest = Nest(("p", "r"), 1, accesses, body, ((7, 3),))
    interpret_nest(nest, (3, 4), [(3, 4, -1), (0,), (0, 1), (0,)], [x, index, table, out])
    np.testing.assert_array_equal(out, (x[:, ::-1] * np.arange(4)).sum(1) + table[index])


@pytest.mark.parametrize(
    "seed, stream, index, words",
    [  # the known answers of Random123's philox4x32-10
        (0, 0, 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (-1, -1, -1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            0x299F31D0A4093822,
            0x0370734413198A2E,
            0x85A308D3243F6A88 - (1 << 64),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox(seed: int, stream: int, index: int, words: tuple[int, ...]) -> None:
    consts = [Inst("const", "i64", (), (v,)) for v in (seed, stream, index)]
    body = (*consts, *(Inst("philox", "u32", (0, 1, 2), (k,)) for k in range(4)))
    accesses = tuple(Access(0, "u32", ("1",)) for _ in range(4))
    out = np.zeros(4, np.uint32)
    stores = tuple((3 + k, k) for k in range(4))
    interpret_nest(Nest(("p",), 0, accesses, body, stores), (1,), [(k,) for k in range(4)], [out])
    assert tuple(int(x) for x in out) == words


def test_an_access_that_leaves_its_buffer_is_refused() -> None:
    nest = Nest(("p",), 0, (Access(0, "f32", ("1",)),), (Inst("load", "f32", (), (0,)),), ((0, 0),))
    with pytest.raises(IndexError, match="elements 2 to 6 of a buffer of 5"):
        interpret_nest(nest, (5,), [(2,)], [np.zeros(5, np.float32)])
