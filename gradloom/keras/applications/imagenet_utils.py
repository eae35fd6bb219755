"""``keras.applications.imagenet_utils``."""

from gradloom.keras.applications.building import decode_predictions, preprocess_input

__all__ = ["decode_predictions", "preprocess_input"]
