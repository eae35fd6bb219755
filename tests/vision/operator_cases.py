"""Calls of torchvision's operators, described once: recorded with torchvision, tested with ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

RNG = np.random.default_rng(11)


def boxes(n: int, reach: float) -> np.ndarray:
    a = RNG.uniform(-1, reach, (n, 2))
    return np.concatenate([a, a + RNG.uniform(0.5, reach / 2, (n, 2))], 1)


A, B = boxes(4, 20), boxes(5, 20)
CROWD, SCORES, CLASSES = boxes(60, 20), RNG.random(60), RNG.integers(0, 3, 60)
MAP = RNG.standard_normal((2, 8, 7, 9))
ROIS = np.concatenate([RNG.integers(0, 2, (4, 1)), boxes(4, 14)], 1)
MASKS = RNG.random((3, 5, 7)) > 0.8
MASKS[1] = False
OFFSET, TAPS = 2 * RNG.standard_normal((2, 36, 7, 9)), RNG.random((2, 18, 7, 9))
FILTERS, BIAS = RNG.standard_normal((4, 4, 3, 3)), RNG.standard_normal(4)
WIDE = RNG.standard_normal((2, 18, 3, 8))


def wave(shape: tuple[int, ...]) -> np.ndarray:
    """Numbers without a pattern that fits an operator's."""
    return np.cos(np.arange(int(np.prod(shape))) ** 2 * 0.37 + 1).reshape(shape)


# name: (call of the module of operators, arrays; those that are differentiable come first, and how many they are)
CASES: dict[str, tuple[Callable[..., Any], list[np.ndarray], int]] = {
    "area": (lambda o, a: o.box_area(a), [A], 1),
    "iou": (lambda o, a, b: o.box_iou(a, b), [A, B], 2),
    "iou of xywh": (lambda o, a, b: o.box_iou(a, b, fmt="xywh"), [A, B], 2),
    "generalized iou": (lambda o, a, b: o.generalized_box_iou(a, b), [A, B], 2),
    "distance iou": (lambda o, a, b: o.distance_box_iou(a, b), [A, B], 2),
    "complete iou": (lambda o, a, b: o.complete_box_iou(a, b), [A, B], 0),  # a factor in it is held constant
    "clip": (lambda o, a: o.clip_boxes_to_image(a, (12, 9)), [1.3 * A], 1),
    "small": (lambda o, a: o.remove_small_boxes(a, 4.0), [CROWD], 0),
    "masks": (lambda o, m: o.masks_to_boxes(m), [MASKS], 0),
    "nms": (lambda o, b, s: o.nms(b, s, 0.3), [CROWD, SCORES], 0),
    "batched nms": (lambda o, b, s, c: o.batched_nms(b, s, c, 0.3), [CROWD, SCORES, CLASSES], 0),
    "roi_pool": (lambda o, x, r: o.roi_pool(x, r, 2, 0.5), [MAP, ROIS], 1),
    "roi_pool 3x2": (lambda o, x, r: o.roi_pool(x, r, (3, 2)), [MAP, ROIS], 1),
    "ps_roi_pool": (lambda o, x, r: o.ps_roi_pool(x, r, 2, 0.5), [MAP, ROIS], 1),
    "deform": (
        lambda o, x, f, w, b, m: o.deform_conv2d(x, f, w, b, padding=(1, 1), mask=m),
        [MAP, OFFSET, FILTERS, BIAS, TAPS],
        5,
    ),
    "deform strided": (
        lambda o, x, f, w: o.deform_conv2d(x, f, w, stride=(2, 1), padding=(0, 1), dilation=(1, 2)),
        [MAP, WIDE[:, :, :3, :7], FILTERS[:, :4]],
        3,
    ),
}  # fmt: skip
for fmt in ("xywh", "cxcywh"):
    CASES[f"xyxy to {fmt}"] = (lambda o, a, f: o.box_convert(a, "xyxy", f), [A], 1)
    CASES[f"{fmt} to xyxy"] = (lambda o, a, f: o.box_convert(a, f, "xyxy"), [A], 1)
    for way in (f"xyxy to {fmt}", f"{fmt} to xyxy"):
        CASES[way] = (partial(CASES[way][0], f=fmt), [A], 1)
for ratio in (-1, 2):
    for aligned in (False, True):
        CASES[f"roi_align {ratio} {aligned}"] = (
            partial(lambda o, x, r, n, al: o.roi_align(x, r, (2, 3), 0.5, n, al), n=ratio, al=aligned), [MAP, ROIS], 1
        )  # fmt: skip
    CASES[f"ps_roi_align {ratio}"] = (
        partial(lambda o, x, r, n: o.ps_roi_align(x, r, 2, 0.5, n), n=ratio), [MAP, ROIS], 1
    )  # fmt: skip
