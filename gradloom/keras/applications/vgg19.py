"""``keras.applications.vgg19``."""

from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.applications.vgg import VGG19

preprocess_input = preprocessing("caffe")

__all__ = ["VGG19", "decode_predictions", "preprocess_input"]
