"""Files of weights and checkpoints: data only, written so that a failure leaves the old file as it was."""

from gradloom.io.safetensors import load, save

__all__ = ["load", "save"]
