"""What a model's author hands over, read by XGBoost itself, and what a device gets of it."""
