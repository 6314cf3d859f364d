"""How far a simulator can be believed: its answers beside what users really did, with the trivial yardsticks."""
