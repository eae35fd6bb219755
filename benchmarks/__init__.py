"""Measurements of gradloom beside the frameworks that its users come from. Start with README.md."""
