"""Recurrent and attention networks beside the peers."""
