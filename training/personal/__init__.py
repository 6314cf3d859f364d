"""Two ways to be personal: one experiment over (user, text, label) data, its arms, heads and report."""
