"""``torch.special`` under the same names. Every function works per element, broadcasts, and takes ``out=``.

Integers become the default float. Float64 results agree with SciPy's to 1e-12 of their size, where SciPy has the
function and away from zeros of oscillating functions; float32 results are computed in float64 and rounded once.
"""

from __future__ import annotations

from typing import Any

from gradloom import functions as _G
from gradloom.functions import elementwise as _elementwise
from gradloom.functions import floats as _floats
from gradloom.functions import reductions as _reductions
from gradloom.functions import special as _special
from gradloom.functions.polynomials import POLYNOMIALS as _POLYNOMIALS

_PLACES = {
    _elementwise: "digamma erf erfc erfinv exp2 expm1 log1p round",
    _floats: "logit sinc xlog1py xlogy",
    _reductions: "log_softmax logsumexp softmax",
    _special: "airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 entr erfcx i0 i0e i1 i1e log_ndtr modified_bessel_i0 "
    "modified_bessel_i1 modified_bessel_k0 modified_bessel_k1 ndtr ndtri polygamma scaled_modified_bessel_k0 "
    "scaled_modified_bessel_k1 spherical_bessel_j0 zeta",
}
_ALIASES = {
    "expit": _elementwise.sigmoid, "gammainc": _special.igamma, "gammaincc": _special.igammac,
    "gammaln": _elementwise.lgamma, "multigammaln": _special.mvlgamma, "psi": _elementwise.digamma,
}  # fmt: skip

_FOUND: dict[str, Any] = {name: getattr(place, name) for place, names in _PLACES.items() for name in names.split()}
_FOUND |= _ALIASES | _POLYNOMIALS
__all__ = sorted(_FOUND)


def __getattr__(name: str) -> Any:
    if name not in _FOUND:
        raise AttributeError(f"module 'gradloom.special' has no attribute {name!r}")
    value = globals()[name] = _G.placed(__name__, name, _G.with_out(_FOUND[name]))
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_FOUND})
