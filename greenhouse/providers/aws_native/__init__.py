"""Package `aws-native`, which uses Cloud Control as the real plugin does."""
