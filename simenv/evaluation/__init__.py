"""How good recommenders, and the simulator itself, are."""
