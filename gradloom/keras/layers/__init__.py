"""Layers, by the names that Keras gives them."""

from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.core import Activation, Dense, Dropout, ReLU, Softmax
from gradloom.keras.layers.shape import Flatten, Input, InputLayer, Reshape

__all__ = ["Activation", "Dense", "Dropout", "Flatten", "Input", "InputLayer", "Layer", "ReLU", "Reshape", "Softmax"]
