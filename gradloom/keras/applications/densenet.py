"""``keras.applications.densenet``."""

from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.applications.dense import DenseNet121, DenseNet169, DenseNet201

preprocess_input = preprocessing("torch")

__all__ = ["DenseNet121", "DenseNet169", "DenseNet201", "decode_predictions", "preprocess_input"]
