"""The cloud half: what is built, stored, published and deployed."""
