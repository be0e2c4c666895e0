"""Command-line tools: ``python -m tracking.tools.NAME``."""
