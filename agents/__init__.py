"""The users who answer."""
