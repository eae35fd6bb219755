"""Feature pyramids (Lin et al. 2017), and regions cut from the level that suits their size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from gradloom import nn
from gradloom.functions import PUBLIC, cat
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.tensor import Tensor, from_numpy
from gradloom.vision.ops.layers import Conv2dNormActivation, Layer
from gradloom.vision.ops.roi import roi_align

__all__ = ["FeaturePyramidNetwork", "MultiScaleRoIAlign"]


class ExtraFPNBlock(nn.Module):
    """Adds levels to a pyramid: ``forward(results, x, names)`` gives the longer lists."""

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Results and names with the new levels behind."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method")


class LastLevelMaxPool(ExtraFPNBlock):
    """One more level, "pool": every second pixel of the last."""

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Results and names with the new level behind."""
        return [*results, results[-1][:, :, ::2, ::2]], [*names, "pool"]


class FeaturePyramidNetwork(nn.Module):
    """Maps of several sizes brought to one width, coarse ones added to finer ones.

    Parameters
    ----------
    in_channels_list : widths of the maps, finest first. out_channels : of all results.
    extra_blocks : adds levels.
    """

    def __init__(
        self, in_channels_list: Sequence[int], out_channels: int, extra_blocks: ExtraFPNBlock | None = None,
        norm_layer: Layer | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if any(n == 0 for n in in_channels_list):
            raise ValueError("FeaturePyramidNetwork: a map has at least one channel")
        self.inner_blocks, self.layer_blocks = nn.ModuleList(), nn.ModuleList()
        for channels in in_channels_list:
            for blocks, width, kernel in ((self.inner_blocks, channels, 1), (self.layer_blocks, out_channels, 3)):
                blocks.append(
                    Conv2dNormActivation(
                        width, out_channels, kernel_size=kernel, norm_layer=norm_layer, activation_layer=None
                    )
                )
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                init.kaiming_uniform_(m.weight, a=1)
                if m.bias is not None:
                    init.zeros_(m.bias)
        if extra_blocks is not None and not isinstance(extra_blocks, ExtraFPNBlock):
            raise TypeError(f"extra_blocks is an ExtraFPNBlock, got {type(extra_blocks).__name__}")
        self.extra_blocks = extra_blocks

    def forward(self, x: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
        """Maps by name, finest first, (N, C_i, H_i, W_i), to results of the same names, (N, out_channels, H_i, W_i)."""
        names, maps = list(x.keys()), list(x.values())
        last = self.inner_blocks[-1](maps[-1])
        results = [self.layer_blocks[-1](last)]
        for k in range(len(maps) - 2, -1, -1):
            fine = self.inner_blocks[k](maps[k])
            last = fine + F.interpolate(last, size=tuple(fine.shape[-2:]), mode="nearest")
            results.insert(0, self.layer_blocks[k](last))
        if self.extra_blocks is not None:
            results, names = self.extra_blocks(results, maps, names)
        return OrderedDict(zip(names, results, strict=True))


class MultiScaleRoIAlign(nn.Module):
    """:func:`roi_align` from the level of a pyramid that suits a box: larger ones from coarser levels.

    Parameters
    ----------
    featmap_names : the maps to use, finest first.
    canonical_scale, canonical_level : a box of this side (the root of its area) is read from this level.
    """

    def __init__(
        self, featmap_names: Sequence[str], output_size: int | Sequence[int], sampling_ratio: int, *,
        canonical_scale: int = 224, canonical_level: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        self.featmap_names, self.sampling_ratio = list(featmap_names), sampling_ratio
        self.output_size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
        self.canonical_scale, self.canonical_level = canonical_scale, canonical_level

    def forward(
        self, x: Mapping[str, Tensor], boxes: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Maps by name, boxes (L, 4) of each image, and the images' sizes, to (K, C, ph, pw) in the boxes' order."""
        maps = [x[name] for name in self.featmap_names]
        if not maps:
            raise ValueError(f"MultiScaleRoIAlign: none of the maps {self.featmap_names} is there")
        whole = [max(sizes) for sizes in zip(*image_shapes, strict=True)]
        scales = [2.0 ** round(float(np.log2(m.shape[-2] / whole[0]))) for m in maps]
        rows = cat([F.pad(b, (1, 0), value=float(k)) for k, b in enumerate(boxes)], 0)
        if len(maps) == 1:
            return roi_align(maps[0], rows, self.output_size, scales[0], self.sampling_ratio)
        corners = rows.numpy()
        area = (corners[:, 3] - corners[:, 1]) * (corners[:, 4] - corners[:, 2])
        finest, coarsest = (int(-np.log2(s)) for s in (scales[0], scales[-1]))
        with np.errstate(divide="ignore"):
            level = np.floor(self.canonical_level + np.log2(np.sqrt(area) / self.canonical_scale) + 1e-6)
        level = np.clip(level, finest, coarsest).astype(np.int64) - finest
        parts, order = [], []
        for k, (m, scale) in enumerate(zip(maps, scales, strict=True)):
            members = np.nonzero(level == k)[0]
            if members.size:
                chosen = PUBLIC["index_select"](rows, 0, from_numpy(members))
                parts.append(roi_align(m, chosen, self.output_size, scale, self.sampling_ratio))
                order.append(members)
        if not parts:
            return roi_align(maps[0], rows, self.output_size, scales[0], self.sampling_ratio)
        back = np.argsort(np.concatenate(order), kind="stable")
        return PUBLIC["index_select"](cat(parts, 0), 0, from_numpy(back))

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.featmap_names}, output_size={self.output_size}, sampling_ratio={self.sampling_ratio}"
