"""``keras.applications.mobilenet_v2``."""

from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.applications.mobile import MobileNetV2

preprocess_input = preprocessing("tf")

__all__ = ["MobileNetV2", "decode_predictions", "preprocess_input"]
