"""The functions that NumPy lacks, as the reference target has them, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from gradloom.ops import special_reference

LINE = np.concatenate([np.linspace(-6, 6, 997), [1e-12, -1e-300, 0.0, -0.0, 25.5, -25.5, np.nan, np.inf]])
POLES = np.array([-5.0, -1.0])
FUNCTIONS = {
    "erf": (scipy.special.erf, LINE), "erfc": (scipy.special.erfc, LINE),
    "lgamma": (scipy.special.gammaln, np.concatenate([LINE, POLES])),
    "digamma": (scipy.special.digamma, np.concatenate([LINE, POLES])),
    "erfinv": (scipy.special.erfinv, np.concatenate([np.linspace(-1, 1, 999), [1e-12, 1 - 1e-15, 2.0, np.nan]])),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_against_scipy(name: str) -> None:
    theirs, x = FUNCTIONS[name]
    np.testing.assert_allclose(getattr(special_reference, name)(x), theirs(x), rtol=4e-13, atol=4e-14)
    half = getattr(special_reference, name)(x.astype(np.float32))
    assert half.dtype == np.float32 and half.shape == x.shape


def test_log_gamma_at_minus_infinity() -> None:
    """As in C and PyTorch; SciPy has minus infinity."""
    assert special_reference.lgamma(np.array(-np.inf)) == np.inf
