"""IR → Envoy resources: one file per resource and per HTTP filter. The only place that knows Envoy's words."""
