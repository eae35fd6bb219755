"""Draws that have no closed form: gamma, Poisson and binomial numbers, by NumPy's samplers on a Philox stream.

The stream is keyed by (seed, number of the draw), so the numbers depend on nothing else. Operands: seed and draw, 0-d
int64, then the parameters, all of one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.errors import DTypeError
from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive
from gradloom.ops.elementwise import digamma, lgamma
from gradloom.ops.gamma import igamma

__all__ = ["Draw", "binomial", "gamma_by_shape", "poisson", "standard_gamma"]


class Draw(Primitive):
    """One number for each element of the parameters. sample: ``(generator, parameters in float64) -> numbers``."""

    kind = "host"
    draws = True

    def __init__(self, name: str, sample: Callable[..., np.ndarray]) -> None:
        super().__init__(name, self._run)
        self._sample = sample

    def _run(self, arrays: Sequence[np.ndarray], attrs: tuple, aval: Aval) -> np.ndarray:
        seed, stream, *parameters = arrays
        mask = 0xFFFFFFFFFFFFFFFF
        bits = np.random.Philox(counter=[0, 0, int(stream) & mask, 1], key=[int(seed) & mask, 0])
        made = self._sample(np.random.Generator(bits), *(p.astype(np.float64) for p in parameters))
        return np.asarray(made).astype(aval.dtype.numpy)

    def infer(self, avals: Sequence[Aval], attrs: tuple) -> Aval:
        """The shape and dtype of the first parameter. Raises DTypeError where that is not floating."""
        a = avals[2]
        if a.dtype.category != 2:
            raise DTypeError(
                f"{self.name}: dtype {a.dtype.name} is not floating", code=f"dtype.{self.name}",
                hint="convert the parameters with .float()",
            )  # fmt: skip
        return Aval(a.shape, a.dtype)


def _gamma(rng: np.random.Generator, shape: np.ndarray) -> np.ndarray:
    good = np.where(shape > 0, shape, 1.0)
    return np.where(shape > 0, np.maximum(rng.standard_gamma(good), np.finfo(np.float32).tiny), np.nan)


def _poisson(rng: np.random.Generator, rate: np.ndarray) -> np.ndarray:
    good = np.where((rate >= 0) & (rate < 9e18), rate, 0.0)
    return np.where(rate >= 0, rng.poisson(good).astype(np.float64), np.nan)


def _binomial(rng: np.random.Generator, count: np.ndarray, probability: np.ndarray) -> np.ndarray:
    good = (count >= 0) & (probability >= 0) & (probability <= 1)
    n, p = np.where(good, count, 0).astype(np.int64), np.where(good, probability, 0.0)
    return np.where(good, rng.binomial(n, p).astype(np.float64), np.nan)


standard_gamma = Draw("standard_gamma", _gamma)
poisson = Draw("poisson", _poisson)
binomial = Draw("binomial", _binomial)


def _gamma_by_shape(arrays: Sequence[np.ndarray], attrs: tuple, aval: Aval) -> np.ndarray:
    """dx/da of x drawn from a gamma distribution of shape a at a fixed uniform: -(dP(a, x)/da) / p(x)."""
    a, x = (v.astype(np.float64) for v in arrays)
    step = 1e-3 * np.minimum(1.0, a)

    def cdf(shape: np.ndarray) -> np.ndarray:
        return igamma.reference([shape, x], (), Aval(shape.shape, dtypes.float64))

    # central differences of fourth order
    by_shape = (8 * (cdf(a + step) - cdf(a - step)) - (cdf(a + 2 * step) - cdf(a - 2 * step))) / (12 * step)
    with np.errstate(all="ignore"):
        density = np.exp((a - 1) * np.log(x) - x - _of(lgamma, a))
        slope = -by_shape / density
        # far in the lower tail x = (u a Gamma(a))**(1/a), whose logarithm can be differentiated
        small = x < 1e-4 * np.minimum(1.0, a)
        tail = -x / a * (np.log(x) - _of(digamma, a + 1))
    return np.where(small, tail, slope).astype(aval.dtype.numpy)


def _of(prim: Primitive, a: np.ndarray) -> np.ndarray:
    return prim.reference([a], (), Aval(a.shape, dtypes.float64))


gamma_by_shape = Primitive("gamma_by_shape", _gamma_by_shape, lambda a, t: Aval(a[0].shape, a[0].dtype))


def _declare() -> None:
    from gradloom import functions as G

    @standard_gamma.gradient
    def _(ct: Any, out: Any, ins: Sequence[Any], attrs: tuple) -> tuple[Any, ...]:
        # implicit reparameterisation: Figurnov, Mohamed and Mnih 2018
        return None, None, G.mul(ct, G.apply(gamma_by_shape, (ins[2], G.detach(out))))


GRADIENTS = _declare
