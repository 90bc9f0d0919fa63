"""Small parts without domain knowledge: clock, errors, atomic files, the Envoy binary."""
