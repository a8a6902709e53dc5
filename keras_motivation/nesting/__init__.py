"""Matches the weights of the base with those of the motivated model, and checks that the match is correct."""
