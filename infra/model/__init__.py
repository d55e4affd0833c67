"""Reads the author's model and samples with XGBoost itself, and makes the device's files."""
