"""What the namespace can do: the standard's inspection interface."""

from __future__ import annotations

from typing import Any

from gradloom import dtypes
from gradloom.array_api.promotion import STANDARD, isdtype
from gradloom.devices import resolve
from gradloom.dtypes import DType

__all__ = ["Info"]


class Info:
    """Capabilities, devices and dtypes."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean indexing and shapes that depend on data work; arrays have at most 64 axes."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Any:
        """The device that new arrays are made on."""
        return resolve()

    def devices(self) -> list[Any]:
        """The devices there are."""
        return [self.default_device()]

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """The dtypes of results that nothing else decides."""
        resolve(device)
        f = dtypes.default_float()
        return {
            "real floating": f, "complex floating": f.to_complex(), "integral": dtypes.int64, "indexing": dtypes.int64,
        }  # fmt: skip

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """The standard's dtypes by name, all or those of a kind."""
        resolve(device)
        return {d.name: d for d in STANDARD if kind is None or isdtype(d, kind)}
