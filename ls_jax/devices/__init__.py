"""Devices: the mesh, processes, the layout of members, and XLA's flags on a CPU."""
