"""The reference target: any program evaluated by NumPy, slowly and plainly."""
