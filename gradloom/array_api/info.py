"""What the namespace can do: the standard's inspection interface."""

from __future__ import annotations

from typing import Any

from gradloom import dtypes
from gradloom.array_api.promotion import STANDARD, check_device, isdtype
from gradloom.dtypes import DType

__all__ = ["Info"]


class Info:
    """Capabilities, devices and dtypes."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean indexing and shapes that depend on data work; arrays have at most 64 axes."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Any:
        """The CPU."""
        from gradloom.devices import device

        return device("cpu")

    def devices(self) -> list[Any]:
        """The devices there are."""
        return [self.default_device()]

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """The dtypes of results that nothing else decides."""
        check_device(device)
        f = dtypes.default_float()
        return {
            "real floating": f, "complex floating": f.to_complex(), "integral": dtypes.int64, "indexing": dtypes.int64,
        }  # fmt: skip

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """The standard's dtypes by name, all or those of a kind."""
        check_device(device)
        return {d.name: d for d in STANDARD if kind is None or isdtype(d, kind)}
