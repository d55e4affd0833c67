"""Makes and clears what a stack publishes: image, files, component versions, records."""
