"""What the workflows ask of the repository."""
