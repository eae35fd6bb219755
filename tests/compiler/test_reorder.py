"""Copies into another order of axes by squares: against NumPy, for sizes that leave rests, runs that go backwards."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as gl
from gradloom.compiler.llvm.host import detect_host
from gradloom.compiler.loops import Access, Inst, Launch, Nest
from gradloom.compiler.reorder import plan_reorder


@pytest.mark.parametrize("shape", [(64, 48, 3, 3), (33, 40, 3, 3), (17, 100, 5, 3), (16, 300, 2, 2), (128, 129, 1, 3)])
@pytest.mark.parametrize("order", [(2, 3, 1, 0), (3, 2, 1, 0), (1, 2, 3, 0)])
def test_filters_there_and_back(shape: tuple[int, ...], order: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype("f4")
    there = gl.tensor(x).permute(order).contiguous()
    np.testing.assert_array_equal(there.numpy(), x.transpose(order))
    back = gl.tensor(np.ascontiguousarray(x.transpose(order))).permute(tuple(np.argsort(order))).contiguous()
    np.testing.assert_array_equal(back.numpy(), x)


@pytest.mark.parametrize("shape", [(64, 48, 3, 3), (96, 40, 5, 3), (320, 128, 1, 3)])
@pytest.mark.parametrize("wide", [16, 32])
def test_panels_there_and_back(shape: tuple[int, ...], wide: int) -> None:
    """Filters cut into blocks of a few, each brought into order by itself."""
    x = np.random.default_rng(3).standard_normal(shape).astype("f4")
    cut = (shape[0] // wide, wide, *shape[1:])
    there = gl.tensor(x).reshape(cut).permute(0, 3, 4, 2, 1).contiguous()
    want = np.ascontiguousarray(x.reshape(cut).transpose(0, 3, 4, 2, 1))
    np.testing.assert_array_equal(there.numpy(), want)
    back = gl.tensor(want).permute(0, 4, 3, 1, 2).contiguous()
    np.testing.assert_array_equal(back.numpy().reshape(shape), x)


def test_turned_round() -> None:
    x = np.random.default_rng(1).standard_normal((40, 50, 3, 3)).astype("f4")
    got = gl.tensor(x).flip(2, 3).permute(2, 3, 1, 0).contiguous()
    np.testing.assert_array_equal(got.numpy(), x[:, :, ::-1, ::-1].transpose(2, 3, 1, 0))


def test_update_reads_what_was_brought_in_order() -> None:
    rng = np.random.default_rng(2)
    p, g = rng.standard_normal((64, 64, 3, 3)).astype("f4"), rng.standard_normal((3, 3, 64, 64)).astype("f4")
    got = gl.tensor(p) - 0.5 * gl.tensor(g).permute(3, 2, 0, 1)
    np.testing.assert_array_equal(got.numpy(), p - np.float32(0.5) * g.transpose(3, 2, 0, 1))


def test_is_chosen_for_filters_only() -> None:
    def launch(shape: tuple[int, ...], src: tuple[int, ...], dst: tuple[int, ...]) -> Launch | None:
        steps = [tuple("1" if s == 1 else "s" for s in st) for st in (src, dst)]
        nest = Nest(
            ("p",) * len(shape), 0, tuple(Access(k, "f32", s) for k, s in enumerate(steps)),
            (Inst("load", "f32", (), (0,)),), ((0, 1),),
        )  # fmt: skip
        ints = [[0, *(s for s in st if s != 1)] for st in (src, dst)]
        return plan_reorder(nest, shape, ints, [1, 2], detect_host())

    assert launch((64, 64, 9), (1, 64, 4096), (576, 9, 1)) is not None
    assert launch((64, 576), (1, 64), (576, 1)) is None  # a plain transpose has its own way
    assert launch((4, 64, 9), (1, 4, 256), (576, 9, 1)) is None  # too few rows for a square
    panels = launch((2, 32, 48, 9), (13824, 432, 9, 1), (13824, 1, 32, 1536))
    assert panels is not None
    assert panels.chunks == 2 * launch((32, 48, 9), (432, 9, 1), (1, 32, 1536)).chunks
    assert (
        launch((2, 5, 32, 48, 9), (69120, 13824, 432, 9, 1), (69125, 13824, 1, 32, 1536)) is None
    )  # two kinds of blocks


@pytest.mark.parametrize("dtype", ["f4", "i4"])
@pytest.mark.parametrize(
    "shape",
    [(1, 3, 224, 224), (3, 3, 17, 16), (2, 4, 9, 33), (5, 2, 40, 47), (7, 1, 30, 31), (2, 5, 20, 20), (2, 3, 8, 9)],
)
def test_planes_to_pixels(shape: tuple[int, ...], dtype: str) -> None:
    x = (np.random.default_rng(4).standard_normal(shape) * 100).astype(dtype)
    got = gl.tensor(x).permute(0, 2, 3, 1).contiguous()
    np.testing.assert_array_equal(got.numpy(), x.transpose(0, 2, 3, 1))


def test_planes_to_part_of_pixels() -> None:
    """Turned upside down, into the middle of zeros, from every other picture."""
    x = np.random.default_rng(5).standard_normal((6, 3, 21, 37)).astype("f4")
    got = gl.nn.functional.pad(gl.tensor(x)[::2].flip(2).permute(0, 2, 3, 1), (0, 0, 2, 3, 1, 1))
    want = np.pad(x[::2, :, ::-1].transpose(0, 2, 3, 1), ((0, 0), (1, 1), (2, 3), (0, 0)))
    np.testing.assert_array_equal(got.numpy(), want)


def test_planes_are_woven() -> None:
    nest = Nest(
        ("p",) * 3, 1, (Access(0, "f32", ("s", "1", "s")), Access(1, "f32", ("s", "s", "1"))),
        (Inst("load", "f32", (), (0,)),), ((0, 1),),
    )  # fmt: skip
    launch = plan_reorder(nest, (30, 40, 3), [[0, 40, 1200], [6, 126, 3]], [1, 2], detect_host())
    assert launch is not None
    assert type(launch.source).__name__ == "Interleave"
    assert plan_reorder(nest, (30, 40, 5), [[0, 40, 1200], [6, 210, 5]], [1, 2], detect_host()) is None
