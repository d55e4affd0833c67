"""The nucleus' local IPC: event-stream frames on a Unix socket, as the awsiotsdk speaks them."""
