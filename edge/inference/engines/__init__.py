"""What answers: a compiled forest, or XGBoost itself."""
