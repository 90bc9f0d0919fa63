"""The translator: Envoy's external processor for targets whose dialect is not the client's.

`exchange` is one attempt as a state machine without I/O, `answer` its response half, `wire` builds the messages, `facts` is what
a target's Envoy configuration says; `frames` and `http2` are the transport, `server` the service on it, `worker` one process on
one socket. README.md says why it is built this way.
"""
