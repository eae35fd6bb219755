"""Loss functions by family; `nn.functional` gives them their public names."""
