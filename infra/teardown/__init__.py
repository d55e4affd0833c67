"""What a destroy does first and last."""
