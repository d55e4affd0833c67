"""The evaluators: a compiled forest, or XGBoost itself."""
