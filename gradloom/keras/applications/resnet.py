"""``keras.applications.resnet``."""

from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.applications.residual import ResNet50, ResNet101, ResNet152

preprocess_input = preprocessing("caffe")

__all__ = ["ResNet101", "ResNet152", "ResNet50", "decode_predictions", "preprocess_input"]
