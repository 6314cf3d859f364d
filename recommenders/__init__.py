"""The recommenders on trial."""
