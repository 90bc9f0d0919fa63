"""One file per HTTP filter that Headgate puts into Envoy."""
