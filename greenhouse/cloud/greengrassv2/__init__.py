"""The API greengrassv2, and the two calls that only devices use."""
