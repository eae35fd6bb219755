"""Writes `backend_figures.npz`: what TensorFlow gives for the calls of `backend_table.py`. No test runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from backend_table import calls

found = {name: np.asarray(call()) for name, call in calls(tf).items()}
np.savez_compressed(Path(__file__).with_name("backend_figures.npz"), **found)
