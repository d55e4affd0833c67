"""A component's recipe on the device: read, configured, resolved, its variables replaced."""
