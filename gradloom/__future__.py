"""``torch.__future__``: how conversions of modules treat their parameters. Here they always write into them."""

from __future__ import annotations

from gradloom.errors import NotSupportedError

__all__ = [
    "get_overwrite_module_params_on_conversion", "get_swap_module_params_on_conversion",
    "set_overwrite_module_params_on_conversion", "set_swap_module_params_on_conversion",
]  # fmt: skip

_HINT = "a module's parameters are the same objects after .to(dtype), with new values"


def get_overwrite_module_params_on_conversion() -> bool:
    """False: a conversion keeps the parameters."""
    return False


def set_overwrite_module_params_on_conversion(value: bool) -> None:
    """Raises NotSupportedError for True: parameters are never replaced."""
    if value:
        raise NotSupportedError("a conversion cannot replace parameters", code="module.conversion", hint=_HINT)


def get_swap_module_params_on_conversion() -> bool:
    """False: values are written into the parameters; nothing needs to be swapped."""
    return False


def set_swap_module_params_on_conversion(value: bool) -> None:
    """Raises NotSupportedError for True: parameters are never swapped."""
    if value:
        raise NotSupportedError("a conversion cannot swap parameters", code="module.conversion", hint=_HINT)
