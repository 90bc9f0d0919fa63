"""Named outages on a real gateway in front of simulated vendors, and what they cost its clients."""
