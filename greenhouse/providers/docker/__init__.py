"""Package `docker`: an image, built by the engine and pushed to its registry."""
