"""``keras.applications.resnet50``."""

from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.applications.residual import ResNet50

preprocess_input = preprocessing("caffe")

__all__ = ["ResNet50", "decode_predictions", "preprocess_input"]
