"""The translator: Envoy's external processor for targets whose dialect is not the client's.

`exchange` is one attempt as a state machine without I/O, `answer` its response half, `wire` builds the messages, `facts` is what
a target's Envoy configuration says, `server` the transport (ASGI over HTTP/2, hand-framed gRPC), `worker` one process on one socket.
"""
