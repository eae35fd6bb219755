"""Operators through the export, in groups that are one graph each, and run at sizes that were not recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from exporting import normal, same, tensors, whole

import gradloom as gl
from gradloom import nn
from gradloom.nn import functional as F
from gradloom.onnx import export

Fn = Callable[..., Any]


class Group(NamedTuple):
    """Functions of the same arguments, by the size of the first axis, which is open unless ``fixed``."""

    args: Callable[[int], tuple]
    fns: dict[str, Fn]
    fixed: bool = False
    dtype: str = ""
    tolerance: float = 1e-4


def rows(n: int) -> tuple:
    return (normal(n, 3, 4),)


def pair(n: int) -> tuple:
    return normal(n, 3, 4), normal(n, 3, 4)


def positive(n: int) -> tuple:
    return (np.abs(normal(n, 3, 4)) + 0.1,)


def unit(n: int) -> tuple:
    return (np.tanh(normal(n, 3, 4)).astype(np.float32),)


def special(n: int) -> tuple:
    x = normal(n, 8)
    x[0] = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-8, -1e-8, 30.0]
    return (x,)


def integers(n: int) -> tuple:
    return whole(9, n, 3) - 4, whole(4, n, 3) + 1


def flags(n: int) -> tuple:
    return whole(2, n, 3).astype(bool), whole(2, n, 3).astype(bool)


def placed(n: int) -> tuple:
    return normal(n, 5, 4), whole(5, n, 2, 4), normal(n, 2, 4)


def looked_up(n: int) -> tuple:
    return normal(6, 5, 4), whole(6, n, 2), whole(5, n, 2)


def image(n: int) -> tuple:
    return (normal(n, 4, 9, 9),)


def signal(n: int) -> tuple:
    return (normal(n, 4, 12),)


def named(names: str, where: Any = gl) -> dict[str, Fn]:
    return {n: getattr(where, n) for n in names.split()}


def method(name: str, *args: Any, **kwargs: Any) -> Fn:
    return lambda x, *rest: getattr(gl, name)(x, *args, **kwargs)


W4, W3 = gl.from_numpy(normal(4, 4, 3, 3)), gl.from_numpy(normal(4, 2, 3))
TURNED = gl.from_numpy(normal(4, 2, 3, 3))

GROUPS = {
    "functions": Group(
        rows,
        {
            **named(
                "abs neg exp exp2 expm1 sin cos atan sinh cosh tanh asinh erf erfc sigmoid floor ceil trunc round sign "
                "relu square frac sinc deg2rad isnan isfinite isinf signbit logical_not"
            ),
            **named(
                "gelu silu elu selu celu softplus softsign hardtanh hardswish hardsigmoid leaky_relu mish "
                "logsigmoid relu6 tanhshrink softshrink hardshrink",
                F,
            ),
            "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
            "threshold": lambda x: F.threshold(x, 0.1, 2.0),
            "clamp": method("clamp", -0.5, 0.5),
            "clamp min": method("clamp", min=0.1),
            "rsub": lambda x: 2 - x,
            "nan_to_num": gl.nan_to_num,
            "half": lambda x: (x.half() * 2).float(),
            "cast": lambda x: (x * 3).to(gl.int32),
            "bytes": lambda x: (x.abs() * 9).to(gl.uint8) + 250,
            "bool": lambda x: x.round().bool(),
            "remainder": lambda x: gl.remainder(x, 0.7),
            "fmod": lambda x: gl.fmod(x, 0.7),
            "floordiv": lambda x: x // 0.7,
            "pow": lambda x: x**3,
            "normalize": lambda x: F.normalize(x, dim=-1),
            "glu": lambda x: F.glu(x, -1),
        },
    ),
    "positive": Group(
        positive,
        {
            **named("log log2 log10 log1p sqrt rsqrt reciprocal"),
            "power": lambda x: x**0.3,
            "base": lambda x: 2.0**x,
            "xlogy": lambda x: gl.xlogy(x, x),
            "acosh": lambda x: gl.acosh(x + 1),
        },
    ),
    "bounded": Group(unit, {**named("asin acos atanh tan"), "logit": lambda x: gl.logit(x * 0.4 + 0.5)}),
    "special": Group(
        special,
        {
            **named("isnan isinf isfinite sign relu abs exp sqrt"),
            "log1p": lambda x: gl.log1p(x.clamp(-1.0)),
            "expm1": gl.expm1,
            "nan_to_num": gl.nan_to_num,
            "signs": gl.signbit,
            "copysign": lambda x: gl.copysign(gl.ones(8), x),
            "eq": lambda x: x == x,
            "softplus": F.softplus,
        },
    ),
    "two": Group(
        pair,
        {
            **named(
                "add sub mul maximum minimum fmax fmin atan2 hypot eq ne lt le gt ge logaddexp logical_and logical_xor"
            ),
            "div": lambda x, y: x / (y + 10),
            "where": lambda x, y: gl.where(x > y, x, y),
            "lerp": lambda x, y: gl.lerp(x, y, 0.3),
            "trunc": lambda x, y: gl.div(x, y + 5, rounding_mode="trunc"),
            "outer": lambda x, y: x[:, :, None] * y[:, None],
            "addcmul": lambda x, y: gl.addcmul(x, x, y, value=0.5),
            "cat": lambda x, y: gl.cat([x, y], 1),
            "stack": lambda x, y: gl.stack([x, y], -1),
            "matmul": lambda x, y: x @ y.transpose(1, 2),
            "einsum": lambda x, y: gl.einsum("bij,bkj->bik", x, y),
            "cdist": lambda x, y: gl.cdist(x, y),
            "cosine": lambda x, y: F.cosine_similarity(x, y, -1),
            "mse": lambda x, y: F.mse_loss(x, y),
            "bce": lambda x, y: F.binary_cross_entropy_with_logits(x, y.sigmoid()),
        },
    ),
    "reductions": Group(
        rows,
        {
            **{
                f"{n} {d}": method(n, dim=d)
                for n in (
                    "sum",
                    "mean",
                    "prod",
                    "amax",
                    "amin",
                    "softmax",
                    "log_softmax",
                    "cumsum",
                    "cumprod",
                    "logsumexp",
                    "argmax",
                    "argmin",
                    "var",
                    "std",
                )
                for d in (0, -1)
            },
            **named("sum mean amax argmax argmin var norm"),
            "any": lambda x: (x > 1).any(1),
            "all": lambda x: (x > -1).all(),
            "max": lambda x: tuple(gl.max(x, 1)),
            "count": lambda x: gl.count_nonzero(x, 1),
            "cummax": lambda x: tuple(gl.cummax(x, 1)),
            "cummin": lambda x: tuple(gl.cummin(x.round(), 2)),
            "axes": lambda x: x.sum((0, 2)),
            "sort": lambda x: tuple(gl.sort(x, 1, descending=True)),
            "topk": lambda x: tuple(gl.topk(x, 2, -1)),
            "argsort": lambda x: gl.argsort(x, 0),
            "median": lambda x: gl.median(x, -1).values,
            "kth": lambda x: gl.kthvalue(x, 2, -1).values,
            "layer_norm": lambda x: F.layer_norm(x, (3, 4)),
            "rms": lambda x: F.rms_norm(x, (4,)),
            "instance": F.instance_norm,
            "logcumsumexp": lambda x: gl.logcumsumexp(x, 1),
        },
    ),
    "movement": Group(
        rows,
        {
            "reshape": lambda x: x.reshape(-1, 6),
            "flatten": lambda x: x.flatten(1),
            "all": lambda x: x.reshape(-1),
            "permute": lambda x: x.permute(2, 0, 1) * 1,
            "flip": lambda x: x.flip(0, 2),
            "roll": lambda x: x.roll(1, 0),
            "slice": lambda x: x[1:, ::2],
            "last": lambda x: x[-1],
            "ends": lambda x: x[:-1, :, -2:],
            "none": lambda x: x[:, None],
            "expand": lambda x: x[:1].expand(5, 3, 4) + 0,
            "grow": lambda x: x[:1].expand_as(x) * x,
            "unbind": lambda x: x.unbind(1),
            "chunk": lambda x: x.chunk(2, -1),
            "tile": lambda x: x.tile(2, 1, 2),
            "repeat": lambda x: x.repeat_interleave(2, 0),
            "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=3.0),
            "crop": lambda x: F.pad(x, (-1, 0)),
            "tril": gl.tril,
            "reflect": lambda x: F.pad(x, (2, 1), mode="reflect"),
            "circular": lambda x: F.pad(x, (1, 1), mode="circular"),
            "unfold": lambda x: x.unfold(2, 2, 1),
            "movedim": lambda x: x.movedim(0, -1) * 1,
            "diagonal": lambda x: x.diagonal(0, 1, 2),
            "zeros": lambda x: gl.zeros_like(x) + x.sum(),
            "arange": lambda x: x + gl.arange(x.shape[0])[:, None, None],
            "ones": lambda x: gl.ones(x.shape[0], 2) * x[:, 0, :2],
            "size": lambda x: x.sum(0) / x.shape[0],
            "squeeze": lambda x: x[:, :1].squeeze(1),
            "diff": lambda x: x.diff(dim=0),
            "split": lambda x: x.split([1, 2], 1),
            "alike": lambda x: x,
            "shift": gl.detach,
            "write": lambda x: gl.slice_scatter(x, x[:, :, :2] * 2, 2, 1, 3),
            "select": lambda x: gl.select_scatter(x, x[:, 0] * 0, 1, 2),
        },
    ),
    "integers": Group(
        integers,
        {
            **named(
                "add sub mul floor_divide remainder fmod maximum minimum eq lt bitwise_and bitwise_or bitwise_xor "
                "bitwise_left_shift bitwise_right_shift"
            ),
            "truncated": lambda x, y: gl.div(x, y, rounding_mode="trunc"),
            "true": lambda x, y: x / y,
            "not": lambda x, y: ~x,
            "abs": lambda x, y: abs(x),
            "sum": lambda x, y: x.sum(1),
            "small": lambda x, y: x.to(gl.int8) * y.to(gl.int8) * 9,
            "relu": lambda x, y: gl.relu(x),
            "clamp": lambda x, y: x.clamp(-2, 2),
            "cumsum": lambda x, y: x.cumsum(1),
            "one hot": lambda x, y: F.one_hot(y, 6),
            "histc": lambda x, y: gl.histc(y.float(), 4, 0, 8),
            "kth": lambda x, y: tuple(gl.kthvalue(x, 2, -1)),
            "mean": lambda x, y: F.avg_pool1d(x[None], 2),
            "sort": lambda x, y: tuple(gl.sort(x, 1)),
            "prod": lambda x, y: y.prod(1),
            "isin": lambda x, y: gl.isin(x, y),
            "float": lambda x, y: x.float() * 0.5,
            "max": lambda x, y: x.amax(1),
        },
    ),
    "flags": Group(
        flags,
        {
            **named("logical_and logical_or logical_xor eq ne bitwise_and"),
            "not": lambda x, y: ~x,
            "or": lambda x, y: x | y,
            "sum": lambda x, y: x.sum(1),
            "any": lambda x, y: x.any(1),
            "all": lambda x, y: y.all(0),
            "float": lambda x, y: x.float(),
            "where": lambda x, y: gl.where(x, y, ~y),
            "lt": lambda x, y: x < y,
        },
    ),
    "places": Group(
        placed,
        {
            "gather": lambda x, i, u: gl.gather(x, 1, i),
            "scatter": lambda x, i, u: gl.scatter(x, 1, i, 7.0),
            "scatter_add": lambda x, i, u: gl.scatter_add(x, 1, i, u),
            "take_along": lambda x, i, u: gl.take_along_dim(x, i, 1),
            "most": lambda x, i, u: gl.scatter_reduce(x, 1, i, u, "amax"),
        },
    ),
    "look-ups": Group(
        looked_up,
        {
            "rows": lambda x, i, j: x[i],
            "pairs": lambda x, i, j: x[i, j],
            "apart": lambda x, i, j: x[i, :, j % 4],
            "second": lambda x, i, j: x[:, j],
            "embedding": lambda x, i, j: F.embedding(i, x[:, 0]),
            "index_select": lambda x, i, j: gl.index_select(x, 0, i.reshape(-1)),
            "last": lambda x, i, j: x[:, :, j % 4],
            "put": lambda x, i, j: x.index_put((i, j), gl.ones(()), accumulate=True),
            "take": lambda x, i, j: gl.take(x, i),
            "index_add": lambda x, i, j: gl.index_add(x, 0, i.reshape(-1), x[i.reshape(-1)] * 2),
            "bag": lambda x, i, j: F.embedding_bag(i, x[:, 0], mode="max"),
            "buckets": lambda x, i, j: gl.bucketize(i, gl.tensor([1, 3, 4])),
            "counts": lambda x, i, j: F.one_hot(i, 6).sum(1),
        },
    ),
    "images": Group(
        image,
        {
            "conv": lambda x: F.conv2d(x, W4, None, 2, 1),
            "groups": lambda x: F.conv2d(x, W4[:, :2], None, 1, 1, 1, 2),
            "dilated": lambda x: F.conv2d(x, W4, gl.ones(4), 1, 2, 2),
            "same": lambda x: F.conv2d(x, W4, padding="same"),
            "turned": lambda x: F.conv_transpose2d(x, W4, None, 2, 1, 1),
            "turned groups": lambda x: F.conv_transpose2d(x, TURNED, None, 2, 1, 0, 2),
            "max": lambda x: F.max_pool2d(x, 3, 2, 1),
            "ceil": lambda x: F.max_pool2d(x, 2, ceil_mode=True),
            "dilated max": lambda x: F.max_pool2d(x, 2, 1, 0, 2),
            "mean": lambda x: F.avg_pool2d(x, 2),
            "padded mean": lambda x: F.avg_pool2d(x, 3, 2, 1),
            "inner mean": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
            "adaptive": lambda x: F.adaptive_avg_pool2d(x, 3),
            "uneven": lambda x: F.adaptive_avg_pool2d(x, 4),
            "largest": lambda x: F.adaptive_max_pool2d(x, 1),
            "lp": lambda x: F.lp_pool2d(x.abs(), 2, 3),
            "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
            "nearest": lambda x: F.interpolate(x, size=(5, 13)),
            "bicubic": lambda x: F.interpolate(x, size=(12, 12), mode="bicubic", align_corners=True),
            "shuffle": lambda x: F.pixel_shuffle(x, 2),
            "channels": lambda x: F.channel_shuffle(x, 2),
            "group_norm": lambda x: F.group_norm(x, 2),
            "unfold": lambda x: F.unfold(x, 3),
            "response": lambda x: F.local_response_norm(x, 3),
            "pixels": lambda x: F.pixel_unshuffle(x[:, :, :8, :8], 2),
            "grid": lambda x: F.grid_sample(x, x[:, :2, :5, :5].permute(0, 2, 3, 1).tanh(), align_corners=False),
            "softmax2d": nn.Softmax2d(),
            "with places": lambda x: F.max_pool2d(x, 2, return_indices=True),
        },
        tolerance=1e-3,
    ),
    "signals": Group(
        signal,
        {
            "conv1d": lambda x: F.conv1d(x, W3, None, 2, 1, 1, 2),
            "max": lambda x: F.max_pool1d(x, 3),
            "mean": lambda x: F.avg_pool1d(x, 4, 2),
            "turned": lambda x: F.conv_transpose1d(x, W3, None, 2, groups=2),
            "linear": lambda x: F.interpolate(x, 7, mode="linear"),
            "attention": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
            "masked": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=gl.ones(4, 4).tril().bool()),
            "biased": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=x[:, :, :4]),
            "native": lambda x: F.scaled_dot_product_attention(*(x.repeat(1, 8, 2),) * 3),
            "grouped": lambda x: F.scaled_dot_product_attention(
                x.reshape(-1, 4, 3, 4), x.reshape(-1, 4, 3, 4)[:, :2], x.reshape(-1, 4, 3, 4)[:, 2:], enable_gqa=True
            ),
        },
    ),
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_with_an_open_axis(name: str) -> None:
    group = GROUPS[name]
    fns = list(group.fns.values())

    def every(*x: gl.Tensor) -> tuple:
        return tuple(fn(*x) for fn in fns)

    first = group.args(2)
    axes = tuple({0: "n"} if a.shape[0] == 2 else None for a in first)
    program = export(every, tensors(first), dynamic_shapes=axes, verify=False)  # compared here
    for args in (first, group.args(3)):
        same(program, every, args, group.tolerance, group.tolerance / 10)
