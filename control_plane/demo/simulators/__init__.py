"""Simulated vendors, wire-exact and breakable: `async with Simulator(vendor="openai") as sim: sim.fault = Fault(mode="stall")`."""

from control_plane.demo.simulators.control import ControlServer
from control_plane.demo.simulators.delivery import Pace
from control_plane.demo.simulators.fault import MODES, Fault
from control_plane.demo.simulators.record import Recorded, Stats
from control_plane.demo.simulators.simulator import Simulator

__all__ = ["MODES", "ControlServer", "Fault", "Pace", "Recorded", "Simulator", "Stats"]
