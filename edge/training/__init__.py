"""Trains the shipped model from the wine tables, byte for byte reproducible."""
