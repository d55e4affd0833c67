"""The cloud side: builds, stores, publishes and deploys a release."""
