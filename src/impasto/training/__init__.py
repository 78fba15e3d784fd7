"""Training: fits the networks that impasto paints with, and yields every step."""
