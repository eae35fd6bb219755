"""Keras on TensorFlow."""

from __future__ import annotations

import os

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="")

import keras
import tensorflow

from benchmarks.fitting import keras_style
from benchmarks.fitting.workloads import Workload
from benchmarks.task import Task

VERSION = f"Keras {keras.__version__}, TensorFlow {tensorflow.__version__}"


def make(w: Workload, mode: str) -> Task:
    return keras_style.make(keras, w, mode)
