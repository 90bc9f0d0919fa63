"""Metrics and logs of every process, and the names they use, declared once."""
