"""``keras.applications.resnet_v2``."""

from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.applications.residual import ResNet50V2, ResNet101V2, ResNet152V2

preprocess_input = preprocessing("tf")

__all__ = ["ResNet101V2", "ResNet152V2", "ResNet50V2", "decode_predictions", "preprocess_input"]
