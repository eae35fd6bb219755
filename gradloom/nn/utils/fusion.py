"""Batch normalisation in evaluation folded into the layer before it."""

from __future__ import annotations

import copy
from typing import Any

from gradloom import functions as G
from gradloom.nn.convolution import _ConvNd
from gradloom.nn.linear import Linear
from gradloom.nn.norm import _BatchNorm
from gradloom.nn.parameter import Parameter
from gradloom.tensor import Tensor

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def _folded(
    w: Tensor, b: Tensor | None, mean: Tensor, var: Tensor, eps: float, scale: Tensor | None, shift: Tensor | None,
    axis: int,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    factor = G.rsqrt(var + eps)
    if scale is not None:
        factor = factor * scale
    shape = tuple(-1 if k == axis else 1 for k in range(w.ndim))
    bias = (-mean if b is None else b - mean) * factor
    if shift is not None:
        bias = bias + shift
    weight = (w * G.reshape(factor, shape)).to(w.dtype).detach()
    trained = b is None or b.requires_grad
    return Parameter(weight, w.requires_grad), Parameter(bias.to(w.dtype).detach(), trained)


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of one convolution that does what the convolution and the normalisation by (rm, rv) do.

    transpose: for the filters of a transposed convolution, whose output channels are axis 1.
    """
    return _folded(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 1 if transpose else 0)


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of one linear layer that does what the layer and the normalisation by (rm, rv) do."""
    return _folded(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 0)


def _statistics(layer: Any, bn: _BatchNorm) -> tuple[Any, ...]:
    if layer.training or bn.training:
        raise ValueError("fusion only for eval: call .eval() on both layers first")
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("fusion needs running statistics: the normalisation has track_running_stats=False")
    return bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias


def fuse_conv_bn_eval(conv: _ConvNd, bn: _BatchNorm, transpose: bool = False) -> _ConvNd:
    """A new convolution that does what both layers do in evaluation. Raises ValueError in training mode."""
    mean, var, eps, scale, shift = _statistics(conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(fused.weight, fused.bias, mean, var, eps, scale, shift, transpose)
    return fused


def fuse_linear_bn_eval(linear: Linear, bn: _BatchNorm) -> Linear:
    """A new linear layer that does what both layers do in evaluation. Raises ValueError in training mode."""
    mean, var, eps, scale, shift = _statistics(linear, bn)
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise ValueError(
            f"to fuse, num_features of the normalisation must equal out_features of the layer or 1, got "
            f"{bn.num_features} and {linear.out_features}"
        )
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(fused.weight, fused.bias, mean, var, eps, scale, shift)
    return fused
