"""What a device fetches for a component, and by which credentials."""
