"""Checks before training: what cannot be trained as a pair is refused, with the reason."""
