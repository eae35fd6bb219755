"""Programs: nodes, graphs, their printer and their legality check."""
