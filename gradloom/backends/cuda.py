"""``torch.backends.cuda`` on a machine without such a device.

Programs set its switches without asking whether it is there, as they may in PyTorch: they are plain attributes.
"""

from __future__ import annotations

__all__ = [
    "cudnn_sdp_enabled", "enable_cudnn_sdp", "enable_flash_sdp", "enable_math_sdp", "enable_mem_efficient_sdp",
    "flash_sdp_enabled", "is_available", "is_built", "is_flash_attention_available", "math_sdp_enabled", "matmul",
    "mem_efficient_sdp_enabled",
]  # fmt: skip


def is_available() -> bool:
    """False."""
    return False


def is_built() -> bool:
    """False."""
    return False


class _Products:
    """How a GPU would multiply matrices."""

    allow_tf32 = False
    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True
    allow_fp16_accumulation = False
    fp32_precision = "none"


matmul = _Products()

# the kernels for attention that a GPU would be allowed; here there is one, whatever they say
_allowed = dict.fromkeys(("cudnn", "flash", "math", "mem_efficient"), True)


def enable_flash_sdp(enabled: bool) -> None:
    """Allow flash attention on a GPU, or no longer."""
    _allowed["flash"] = bool(enabled)


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """Allow attention that saves memory on a GPU, or no longer."""
    _allowed["mem_efficient"] = bool(enabled)


def enable_math_sdp(enabled: bool) -> None:
    """Allow plain attention on a GPU, or no longer."""
    _allowed["math"] = bool(enabled)


def enable_cudnn_sdp(enabled: bool) -> None:
    """Allow cuDNN's attention on a GPU, or no longer."""
    _allowed["cudnn"] = bool(enabled)


def flash_sdp_enabled() -> bool:
    """What :func:`enable_flash_sdp` was told."""
    return _allowed["flash"]


def mem_efficient_sdp_enabled() -> bool:
    """What :func:`enable_mem_efficient_sdp` was told."""
    return _allowed["mem_efficient"]


def math_sdp_enabled() -> bool:
    """What :func:`enable_math_sdp` was told."""
    return _allowed["math"]


def cudnn_sdp_enabled() -> bool:
    """What :func:`enable_cudnn_sdp` was told."""
    return _allowed["cudnn"]


def is_flash_attention_available() -> bool:
    """False."""
    return False
