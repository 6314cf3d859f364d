"""From histories to users."""
