"""Modules called with other values: names that they have not, tied ones, and what the call assigns."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gradloom as gl
from gradloom.errors import StateError


def _count(t: Any) -> Any:
    class Count(t.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", t.zeros(1))
            self.scale = t.full((1,), 3.0)
            self.first = t.nn.Parameter(t.ones(1))
            self.second = self.first

        def forward(self, x: Any) -> Any:
            self.seen = self.seen + 1
            return x * self.scale + self.seen + self.first * 10 + self.second * 100 + getattr(self, "extra", 0)

    return Count()


def _run(t: Any) -> list[Any]:
    m, x, out = _count(t), t.ones(1), []
    values = {"seen": t.full((1,), 5.0), "scale": t.full((1,), 2.0), "extra": t.full((1,), 1000.0)}
    kept = values["seen"]
    out.append(t.func.functional_call(m, values, x).item())
    out += [m.seen.item(), m.scale.item(), hasattr(m, "extra"), kept.item(), values["seen"].item()]
    out.append(t.func.functional_call(m, {"second": t.zeros(1)}, x).item())
    out.append(t.func.functional_call(m, {"second": t.zeros(1)}, x, tie_weights=False).item())
    for values, strict in (
        ({"first": t.zeros(1), "second": t.ones(1)}, False), ({"extra": t.ones(1)}, True), ({"first": t.ones(1)}, True),
        ({"nowhere.x": t.ones(1)}, False),
    ):  # fmt: skip
        try:
            out.append(t.func.functional_call(m, values, x, strict=strict).item())
        except (ValueError, RuntimeError, AttributeError):
            out.append("refused")
        out += [m.seen.item(), m.first.item(), m.first is m.second]
    return out


def test_names_ties_and_assignments_are_pytorchs() -> None:
    assert _run(gl) == _run(torch)


def test_refusals_say_what_is_wrong() -> None:
    m = _count(gl)
    with pytest.raises(ValueError, match=r"multiple values for keys \['first', 'second'\]"):
        gl.func.functional_call(m, {"first": gl.zeros(1), "second": gl.ones(1)}, gl.ones(1))
    with pytest.raises(StateError, match=r"has not: \['extra'\]; missing: \['first', 'second', 'seen'\]"):
        gl.func.functional_call(m, {"extra": gl.zeros(1)}, gl.ones(1), strict=True)
    with pytest.raises(StateError, match="given twice"):
        gl.func.functional_call(m, [{"first": gl.zeros(1)}, {"first": gl.zeros(1)}], gl.ones(1))


def test_switches_for_gpus_can_be_set() -> None:
    cuda = gl.backends.cuda
    cuda.matmul.allow_tf32 = True
    assert cuda.matmul.allow_tf32 and not cuda.is_flash_attention_available()
    cuda.matmul.allow_tf32 = False
    for kind in ("flash", "mem_efficient", "math", "cudnn"):
        getattr(cuda, f"enable_{kind}_sdp")(False)
        assert not getattr(cuda, f"{kind}_sdp_enabled")()
        getattr(cuda, f"enable_{kind}_sdp")(True)
