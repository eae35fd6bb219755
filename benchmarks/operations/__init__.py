"""About sixty single operations and small chains, at three sizes each, beside PyTorch eager and NumPy."""
