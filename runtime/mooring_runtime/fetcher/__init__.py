"""Model delivery."""
