"""``keras.applications.mobilenet``."""

from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.applications.mobile import MobileNet

preprocess_input = preprocessing("tf")

__all__ = ["MobileNet", "decode_predictions", "preprocess_input"]
