"""ViT (Dosovitskiy et al. 2021): an image cut into patches, which a transformer reads as it reads words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from gradloom import functions as G
from gradloom import nn
from gradloom.errors import ArgumentError, ShapeError
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.module import Parameter
from gradloom.tensor import Tensor, tensor
from gradloom.vision.models.drawing import zero_bias
from gradloom.vision.models.registry import builder
from gradloom.vision.ops.layers import MLP, Conv2dNormActivation, Layer

__all__ = [
    "ConvStemConfig", "VisionTransformer", "interpolate_embeddings", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16",
    "vit_l_32",
]  # fmt: skip


class ConvStemConfig(NamedTuple):
    """One convolution of a stem that stands in the place of the patches (Xiao et al. 2021)."""

    out_channels: int
    kernel_size: int
    stride: int
    norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d
    activation_layer: Callable[..., nn.Module] = nn.ReLU


class EncoderBlock(nn.Module):
    """Attention and a two-layer perceptron, each behind a norm and beside a shortcut."""

    def __init__(
        self, num_heads: int, hidden_dim: int, mlp_dim: int, dropout: float, attention_dropout: float, norm_layer: Layer
    ) -> None:
        super().__init__()
        self.ln_1 = norm_layer(hidden_dim)
        self.self_attention = nn.MultiheadAttention(hidden_dim, num_heads, dropout=attention_dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = norm_layer(hidden_dim)
        self.mlp = MLP(hidden_dim, [mlp_dim, hidden_dim], activation_layer=nn.GELU, dropout=dropout)
        for m in self.mlp.modules():
            if isinstance(m, nn.Linear) and m.bias is not None:
                init.xavier_uniform_(m.weight)
                init.normal_(m.bias, std=1e-6)

    def forward(self, input: Tensor) -> Tensor:
        """(N, S, hidden_dim), kept."""
        y = self.ln_1(input)
        x = self.dropout(self.self_attention(y, y, y, need_weights=False)[0]) + input
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Positions, blocks, and the last norm."""

    def __init__(
        self, seq_length: int, num_layers: int, num_heads: int, hidden_dim: int, mlp_dim: int, dropout: float,
        attention_dropout: float, norm_layer: Layer,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pos_embedding = Parameter(G.empty(1, seq_length, hidden_dim))
        init.normal_(self.pos_embedding, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential()
        for n in range(num_layers):
            block = EncoderBlock(num_heads, hidden_dim, mlp_dim, dropout, attention_dropout, norm_layer)
            self.layers.add_module(f"encoder_layer_{n}", block)
        self.ln = norm_layer(hidden_dim)

    def forward(self, input: Tensor) -> Tensor:
        """(N, seq_length, hidden_dim), kept."""
        return self.ln(self.layers(self.dropout(input + self.pos_embedding)))


class VisionTransformer(nn.Module):
    """Patches through one linear map, a class token before them, a transformer's encoder, a linear layer on that token.

    Parameters
    ----------
    image_size, patch_size : sides of images and patches, in pixels.
    representation_size : of a hidden layer before the last; none unless given.
    conv_stem_configs : convolutions instead of the patches' map; together their strides make ``patch_size``.
    """

    def __init__(
        self, image_size: int, patch_size: int, num_layers: int, num_heads: int, hidden_dim: int, mlp_dim: int,
        dropout: float = 0.0, attention_dropout: float = 0.0, num_classes: int = 1000,
        representation_size: int | None = None, norm_layer: Layer | None = None,
        conv_stem_configs: Sequence[ConvStemConfig] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if image_size % patch_size:
            raise ArgumentError(f"VisionTransformer: image_size {image_size} is no multiple of patch_size {patch_size}")
        self.image_size, self.patch_size, self.hidden_dim = image_size, patch_size, hidden_dim
        if conv_stem_configs is None:
            patches = nn.Conv2d(3, hidden_dim, kernel_size=patch_size, stride=patch_size)
            init.trunc_normal_(patches.weight, std=math.sqrt(1 / (3 * patch_size**2)))
            zero_bias(patches)
            self.conv_proj: nn.Module = patches
        else:
            self.conv_proj = _stem(conv_stem_configs, hidden_dim)
        self.class_token = Parameter(G.zeros(1, 1, hidden_dim))
        self.seq_length = (image_size // patch_size) ** 2 + 1
        self.encoder = Encoder(
            self.seq_length, num_layers, num_heads, hidden_dim, mlp_dim, dropout, attention_dropout,
            norm_layer or partial(nn.LayerNorm, eps=1e-6),
        )  # fmt: skip
        self.heads = nn.Sequential()
        if representation_size is not None:
            before = nn.Linear(hidden_dim, representation_size)
            init.trunc_normal_(before.weight, std=math.sqrt(1 / hidden_dim))
            zero_bias(before)
            self.heads.add_module("pre_logits", before)
            self.heads.add_module("act", nn.Tanh())
        head = nn.Linear(hidden_dim if representation_size is None else representation_size, num_classes)
        init.zeros_(head.weight)
        zero_bias(head)
        self.heads.add_module("head", head)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, image_size, image_size) to (N, num_classes). Raises ShapeError for images of another size."""
        side = self.image_size
        if tuple(x.shape[-2:]) != (side, side):
            raise ShapeError(
                f"VisionTransformer: images of {x.shape[-2]}x{x.shape[-1]}, made for {side}x{side}",
                code="shape.vit", hint="resize the images, or build with image_size= and interpolate_embeddings",
            )  # fmt: skip
        n = x.shape[0]
        x = G.permute(G.reshape(self.conv_proj(x), (n, self.hidden_dim, self.seq_length - 1)), (0, 2, 1))
        x = G.cat([G.broadcast_to(self.class_token, (n, 1, self.hidden_dim)), x], 1)
        return self.heads(self.encoder(x)[:, 0])

    @staticmethod
    def renamed(state: Mapping[str, Any]) -> dict[str, Any]:
        """Old files' ``mlp.linear_1`` and ``mlp.linear_2`` under today's names."""
        return {
            k.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3."): v for k, v in state.items()
        }


def _stem(settings: Sequence[ConvStemConfig], hidden_dim: int) -> nn.Sequential:
    out, width = nn.Sequential(), 3
    for n, c in enumerate(settings):
        layer = Conv2dNormActivation(
            width, c.out_channels, kernel_size=c.kernel_size, stride=c.stride, norm_layer=c.norm_layer,
            activation_layer=c.activation_layer,
        )  # fmt: skip
        out.add_module(f"conv_bn_relu_{n}", layer)
        width = c.out_channels
    last = nn.Conv2d(width, hidden_dim, kernel_size=1)
    init.normal_(last.weight, std=math.sqrt(2.0 / hidden_dim))
    zero_bias(last)
    out.add_module("conv_last", last)
    return out


def interpolate_embeddings(
    image_size: int, patch_size: int, model_state: Mapping[str, Any], interpolation_mode: str = "bicubic",
    reset_heads: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """A state dict for images of another size: the positions' grid is resized, the class token's position kept.

    reset_heads : leave out ``heads``.
    """
    name = "encoder.pos_embedding"
    table = model_state[name] if isinstance(model_state[name], Tensor) else tensor(model_state[name])
    if table.ndim != 3 or table.shape[0] != 1:
        raise ShapeError(f"interpolate_embeddings: {name} has shape {tuple(table.shape)}, expected (1, S, width)")
    old, new = math.isqrt(table.shape[1] - 1), image_size // patch_size
    if old * old != table.shape[1] - 1:
        raise ShapeError(f"interpolate_embeddings: {table.shape[1] - 1} positions are no square", code="shape.vit")
    out = {k: v for k, v in model_state.items() if not (reset_heads and k.startswith("heads"))}
    if old != new:
        grid = G.reshape(G.permute(table[:, 1:], (0, 2, 1)), (1, table.shape[2], old, old))
        grid = F.interpolate(grid, size=(new, new), mode=interpolation_mode, align_corners=True)
        grid = G.permute(G.reshape(grid, (1, table.shape[2], new * new)), (0, 2, 1))
        out[name] = G.cat([table[:, :1], grid], 1)
    return out


def _vit(image_size: int = 224, **options: Any) -> VisionTransformer:
    return VisionTransformer(image_size, **options)


vit_b_16 = builder(
    "vit_b_16", "ViT-B/16: 86.6 M parameters.", _vit, sized=True, patch_size=16, num_layers=12, num_heads=12,
    hidden_dim=768, mlp_dim=3072,
)  # fmt: skip
vit_b_32 = builder(
    "vit_b_32", "ViT-B/32: 88.2 M parameters.", _vit, sized=True, patch_size=32, num_layers=12, num_heads=12,
    hidden_dim=768, mlp_dim=3072,
)  # fmt: skip
vit_l_16 = builder(
    "vit_l_16", "ViT-L/16: 304.3 M parameters.", _vit, sized=True, patch_size=16, num_layers=24, num_heads=16,
    hidden_dim=1024, mlp_dim=4096,
)  # fmt: skip
vit_l_32 = builder(
    "vit_l_32", "ViT-L/32: 306.5 M parameters.", _vit, sized=True, patch_size=32, num_layers=24, num_heads=16,
    hidden_dim=1024, mlp_dim=4096,
)  # fmt: skip
vit_h_14 = builder(
    "vit_h_14", "ViT-H/14: 632.0 M parameters.", _vit, sized=True, patch_size=14, num_layers=32, num_heads=16,
    hidden_dim=1280, mlp_dim=5120,
)  # fmt: skip
