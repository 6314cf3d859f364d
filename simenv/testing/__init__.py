"""Contracts that plug-ins can be tested against, and tiny logs to test with."""
