"""Training loops: what `fit` costs above the compiled step, beside Keras on its backends and loops in PyTorch."""
