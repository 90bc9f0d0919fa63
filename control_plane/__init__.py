"""Headgate's control plane: specs in, Envoy configuration out, and the translator of provider dialects."""
