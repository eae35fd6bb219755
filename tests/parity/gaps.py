"""Operators of PyTorch's database that are not right here, each with its reason. A key may name one dtype.

What is missing belongs to layers that are still to come, or is refused on purpose; what differs differs on purpose.
"""

from __future__ import annotations

_TIES = "PyTorch does not say which index of equal elements it gives; here it is the first (mode: the last)"

GAPS: dict[str, str] = {
    "nn.functional.scaled_dot_product_attention": "with dropout other numbers are drawn",
    "nn.functional.multi_head_attention_forward": "with dropout other numbers are drawn",
    "chalf": "complex numbers of half precision are refused: NumPy has none",
    "as_strided.partial_views": "the samples read beyond what they hand over",
    "as_strided_scatter float64": "PyTorch gives a gradient to an element that was overwritten",
    "as_strided_scatter complex128": "PyTorch gives a gradient to an element that was overwritten",
    "sgn float64": "PyTorch's gradient is a tensor that cannot be looked at",
    "special.bessel_j0 float64": "PyTorch is wrong by 1e-6 beyond 5; ours agrees with SciPy",
    "special.bessel_y1 float64": "PyTorch is wrong by 1e-6 beyond 5; ours agrees with SciPy",
    "logcumsumexp complex64": "not offered for complex numbers",
    "logcumsumexp complex128": "not offered for complex numbers",
    **{f"{name} int64": _TIES for name in ("kthvalue", "median", "nanmedian", "topk", "mode")},
    **{f"{name} bool": _TIES for name in ("mode", "sort", "argsort")},
}
