"""Package `aws-native`, by Cloud Control as the real plugin."""
