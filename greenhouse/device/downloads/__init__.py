"""What a device fetches for a component, and with which credentials."""
