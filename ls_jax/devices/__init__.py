"""The devices that a process computes on."""
