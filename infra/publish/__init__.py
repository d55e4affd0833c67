"""What a stack makes for others to deploy: image, files, component versions, records."""
