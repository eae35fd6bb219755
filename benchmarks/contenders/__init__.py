"""One module for each framework: how its users would write the workloads, in each of its modes."""
