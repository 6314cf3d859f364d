"""Reading data into (InteractionLog, Catalogue)."""
