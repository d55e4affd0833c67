"""From the wine tables to the model that ships: pandas and XGBoost, byte for byte reproducible."""
