"""What the artist sees: schemas and a few lines each."""
