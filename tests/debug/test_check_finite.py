"""The first operation that went wrong is named, with its line, its layer, and what it is the gradient of."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import gradloom as gl
from gradloom.debug import NonFiniteError, check_finite, detect_anomaly
from gradloom.errors import GradloomError
from gradloom.tape import TAPE


def line() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def test_forward_op_line_and_values():
    x = gl.tensor([4.0, -2.0, 1.0])
    with check_finite():
        y = gl.log(x) * 2; at = line()  # fmt: skip # noqa: E702
        with pytest.raises(
            NonFiniteError, match=r"log: nan in 1 of 3 elements of shape \[3\], first at \[1\], from -2"
        ) as e:
            y.numpy()
    assert e.value.op == "log" and e.value.line == (__file__, at)
    assert np.isnan(y.numpy()[1]) and TAPE.target == "cpu"


def test_layer_path():
    class Bad(gl.nn.Module):
        def forward(self, x):
            return gl.sqrt(x - 1000)

    model = gl.nn.Sequential(gl.nn.Linear(2, 2), gl.nn.Sequential(gl.nn.ReLU(), Bad()))
    with check_finite(), pytest.raises(NonFiniteError, match=r"in forward, layer Sequential\.1\.1"):
        model(gl.ones(1, 2)).sum().item()


def test_backward_names_the_forward_line_and_the_infinity():
    x = gl.tensor([0.0, 1.0], requires_grad=True)
    with check_finite():
        y = gl.sqrt(x); at = line()  # fmt: skip # noqa: E702
        (y * gl.tensor([0.0, 1.0])).sum().backward()
        with pytest.raises(NonFiniteError) as e:
            x.grad.numpy()
    text = str(e.value)
    assert f"gradient of sqrt at {__file__}:{at}" in text and "its infinity: div" in text and "from 0.5 and 0" in text


def test_a_training_step_and_its_weights_stay_to_be_seen():
    w = gl.nn.Parameter(gl.tensor([1.0, 2.0]))
    opt = gl.optim.SGD([w], lr=1.0)

    def step(x):
        opt.zero_grad()
        (w * x).sum().backward()
        opt.step()

    with check_finite():
        step(gl.tensor([1.0, 1.0]))
        step(gl.tensor([1.0, 1.0]))
        with pytest.raises(NonFiniteError, match="input of the program"):
            step(gl.tensor([np.inf, 1.0]))
    assert w.detach().numpy()[1] == -1.0


def test_infinities_may_pass_and_masks_do_not_trip():
    x = gl.tensor([1.0, 0.0])
    with detect_anomaly():
        assert (1.0 / x).tolist() == [1.0, np.inf]
        scores = gl.where(gl.tensor([True, False]), x, gl.tensor(-np.inf))
        assert gl.softmax(scores, 0).tolist() == [1.0, 0.0]
    with check_finite(), pytest.raises(NonFiniteError, match="div: inf in 1 of 2"):
        (1.0 / x).tolist()
    with check_finite():  # large sums alone are no fault
        assert (gl.ones(100) * 3e38).numpy()[0] > 1e38


def test_flag_mode_and_off():
    with check_finite("flag"), pytest.raises(NonFiniteError, match="not finite") as e:
        gl.log(gl.tensor([-1.0])).numpy()
    assert "replay" in e.value.hint and isinstance(e.value, GradloomError | FloatingPointError)
    check_finite("replay")
    with check_finite("off"):
        gl.log(gl.tensor([-1.0])).numpy()
    assert TAPE.target == "watched"
    check_finite("off")
    assert TAPE.target == "cpu" and TAPE.noted is None and TAPE.after is None
    with pytest.raises(ValueError, match="'flag'"):
        check_finite("on")


def test_integers_and_empty_results_pass():
    with check_finite():
        gl.arange(5).sum().item()
        gl.zeros(0, 3).numpy()
        assert gl.tensor([1.0, 2.0], dtype=gl.bfloat16).mul(2).tolist() == [2.0, 4.0]
