"""Everything that runs the system somewhere: the local stack, the simulated fleet, the demo. Only tests import it."""
