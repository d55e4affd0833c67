"""The cloud half: what is built, stored, published and deployed. Never imports the device's runtime."""
