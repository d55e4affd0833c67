"""What would fail on the devices, found before anything is made."""
