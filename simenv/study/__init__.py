"""Published experiments, each one function that writes one result file; `simenv reproduce` runs them."""
