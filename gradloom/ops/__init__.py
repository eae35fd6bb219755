"""The one place for primitives. Importing it declares all of them; gradients are bound with the public functions."""
