"""HTTP API for operators: reads the running gateway, changes nothing. Only this package imports starlette."""
