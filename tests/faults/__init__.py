"""Failure scenarios on real servers, processes and signals; an oracle checks the effect of every record. `make faults`."""
