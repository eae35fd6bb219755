"""Helpers for sequences, images and texts, by the places where older programs find them."""

from gradloom.keras.preprocessing import image, sequence
from gradloom.keras.utils import (
    image_dataset_from_directory,
    text_dataset_from_directory,
    timeseries_dataset_from_array,
)

__all__ = [
    "image",
    "image_dataset_from_directory",
    "sequence",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
]
