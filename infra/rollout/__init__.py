"""A release on its target: the deployment, the wait for devices, and the way back."""
