"""A TCP and TLS proxy that breaks what goes through it, between a client and Envoy or between Envoy and a vendor."""

from control_plane.demo.fault_proxy.proxy import FaultProxy
from control_plane.demo.fault_proxy.trouble import Trouble, Way

__all__ = ["FaultProxy", "Trouble", "Way"]
