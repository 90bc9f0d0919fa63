"""HTTP API for operators: reads the running gateway, and changes overrides alone. Only this package imports starlette."""
