"""The API greengrassv2, and the side of it that only devices use."""
