"""Package `docker`, by the machine's own engine."""
