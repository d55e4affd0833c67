"""What a destroy does on the devices first, and what it lists last."""
