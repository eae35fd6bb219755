"""What all sets of pictures have: a root folder, and transforms of pictures, of targets, or of both together."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from gradloom.data import Dataset
from gradloom.errors import ArgumentError, StateError

Transform = Callable[[Any], Any]


class StandardTransform:
    """One transform of the picture and one of the target, each optional, as one function of both."""

    def __init__(self, transform: Transform | None = None, target_transform: Transform | None = None) -> None:
        self.transform, self.target_transform = transform, target_transform

    def __call__(self, input: Any, target: Any) -> tuple[Any, Any]:
        """Both, transformed."""
        if self.transform is not None:
            input = self.transform(input)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return input, target

    def __repr__(self) -> str:
        lines = [type(self).__name__]
        for head, transform in (("Transform: ", self.transform), ("Target transform: ", self.target_transform)):
            if transform is not None:
                lines.append(head + repr(transform).replace("\n", "\n" + " " * len(head)))
        return "\n".join(lines)


class VisionDataset(Dataset):
    """Base class. A subclass gives `__getitem__` and `__len__`.

    Parameters
    ----------
    root : str or path
        The set's folder; ``~`` is expanded.
    transforms : function of (picture, target), giving both
    transform : function of the picture
    target_transform : function of the target

    Raises
    ------
    ArgumentError : `transforms` together with one of the other two.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        transforms: Callable[[Any, Any], tuple[Any, Any]] | None = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
    ) -> None:
        self.root = os.path.expanduser(root) if root is not None else None
        separate = transform is not None or target_transform is not None
        if transforms is not None and separate:
            raise ArgumentError(
                "transforms was given together with transform or target_transform",
                code="argument.transforms",
                hint="give one function of (picture, target), or functions of each",
            )
        self.transform, self.target_transform = transform, target_transform
        self.transforms = StandardTransform(transform, target_transform) if separate else transforms

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__")

    def _sample(self, picture: Any, target: Any) -> tuple[Any, Any]:
        """Both through the transforms; attributes set later count, as in torchvision."""
        if self.transform is not None or self.target_transform is not None:
            return StandardTransform(self.transform, self.target_transform)(picture, target)
        return self.transforms(picture, target) if self.transforms is not None else (picture, target)

    def _missing(self, what: str, hint: str = "download=True fetches it") -> StateError:
        return StateError(f"{type(self).__name__}: {what} is missing", code="data.missing", hint=hint)

    def extra_repr(self) -> str:
        """Further lines of `repr`."""
        return ""

    def __repr__(self) -> str:
        body = [f"Number of datapoints: {len(self)}"]
        if self.root is not None:
            body.append(f"Root location: {self.root}")
        body += self.extra_repr().splitlines()
        if self.transforms is not None:
            body += repr(self.transforms).splitlines()
        return "\n".join([f"Dataset {type(self).__name__}", *("    " + line for line in body)])
