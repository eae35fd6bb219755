"""Signal processing under ``torch.signal``'s names: :mod:`gradloom.signal.windows`."""

from gradloom.signal import windows

__all__ = ["windows"]
