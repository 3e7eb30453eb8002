"""The structure of the code, measured by reading its imports: modules per folder, cycles, chains, and the rules of the rooms."""
