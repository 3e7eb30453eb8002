"""The fault matrix: real servers, real processes, real signals, and an oracle that knows every record. `make faults`."""
