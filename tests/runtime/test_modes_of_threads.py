"""Modes of calls (gradients, inference, casts, the phase of Keras layers) belong to the thread that set them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import gradloom as gl
from gradloom import keras


def beside(first: Callable[[], Any], then: Callable[[], Any]) -> list[Any]:
    """Two threads: the second starts when the first has entered its mode, and the first leaves when it has ended."""
    inside, leave = threading.Event(), threading.Event()
    found: list[Any] = []

    def holds() -> None:
        with first():
            inside.set()
            leave.wait(30)

    def looks() -> None:
        inside.wait(30)
        try:
            found.append(then())
        finally:
            leave.set()

    threads = [threading.Thread(target=f) for f in (holds, looks)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    return found


MODES: list[tuple[str, Callable[[], Any], Callable[[], Any], Any]] = [
    ("no_grad", gl.no_grad, gl.is_grad_enabled, True),
    ("set_grad_enabled", lambda: gl.set_grad_enabled(False), gl.is_grad_enabled, True),
    ("inference_mode", gl.inference_mode, gl.is_inference_mode_enabled, False),
    ("autocast", lambda: gl.autocast("cpu", dtype=gl.bfloat16), lambda: gl.is_autocast_enabled("cpu"), False),
]


@pytest.mark.parametrize(("enter", "asked", "expected"), [m[1:] for m in MODES], ids=[m[0] for m in MODES])
def test_another_thread_has_its_own(enter: Callable[[], Any], asked: Callable[[], Any], expected: Any) -> None:
    assert beside(enter, asked) == [expected]
    assert asked() == expected


def test_threads_that_leave_out_of_order() -> None:
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with gl.no_grad():
            first_in.set()
            second_in.wait(30)
        first_out.set()

    def second() -> None:
        first_in.wait(30)
        with gl.no_grad():
            second_in.set()
            first_out.wait(30)

    threads = [threading.Thread(target=f) for f in (first, second)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert gl.is_grad_enabled()


def test_gradients_while_another_thread_has_none() -> None:
    def slope() -> float:
        x = gl.tensor(3.0, requires_grad=True)
        (x * x).backward()
        assert x.grad is not None
        return float(x.grad)

    assert beside(gl.no_grad, slope) == [6.0]


def test_a_product_is_not_cast_for_another_thread() -> None:
    made = beside(lambda: gl.autocast("cpu", dtype=gl.bfloat16), lambda: (gl.ones(2, 2) @ gl.ones(2, 2)).dtype)
    assert made == [gl.float32]


def test_keras_layers_called_from_two_threads() -> None:
    """One thread trains, another predicts: each layer call sees its own thread's phase."""
    seen: dict[str, Any] = {}
    inside, done = threading.Event(), threading.Event()

    class Waits(keras.layers.Layer):
        def call(self, x: Any, training: bool | None = None) -> Any:
            inside.set()
            done.wait(30)
            return keras.layers.Dropout(0.5)(x)

    def trains() -> None:
        seen["trains"] = float(gl.sum(Waits()(gl.ones(1, 1000), training=True) == 0))

    def predicts() -> None:
        inside.wait(30)
        seen["predicts"] = float(gl.sum(keras.layers.Dropout(0.5)(gl.ones(1, 1000)) == 0))
        done.set()

    threads = [threading.Thread(target=f) for f in (trains, predicts)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert seen["predicts"] == 0
    assert 350 < seen["trains"] < 650
