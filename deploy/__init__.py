"""What runs the project on a machine: the local stack, the simulated fleet, the demo. Imported by tests at most."""
