"""``keras.applications.vgg16``."""

from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.applications.vgg import VGG16

preprocess_input = preprocessing("caffe")

__all__ = ["VGG16", "decode_predictions", "preprocess_input"]
