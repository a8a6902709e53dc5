"""Batches for the check by numbers: generated from the models' layers, or passed by the user."""
