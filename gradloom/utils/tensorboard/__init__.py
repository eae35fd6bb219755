"""`torch.utils.tensorboard`: logs that TensorBoard shows, written without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradloom.absent import AbsentError
from gradloom.io import events

__all__ = ["SummaryWriter"]


class SummaryWriter(events.SummaryWriter):
    """As :class:`gradloom.io.events.SummaryWriter`; what PyTorch's has beyond it says that it is absent."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("add_"):
                raise AbsentError(
                    f"SummaryWriter deliberately has no {name!r}",
                    hint="it has add_scalar, add_scalars, add_histogram, add_image, add_images, add_figure, add_text",
                )
            raise AttributeError(f"'SummaryWriter' object has no attribute {name!r}")
