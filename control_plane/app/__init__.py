"""The composition root: starts every part in order, and the process tree around Envoy."""
