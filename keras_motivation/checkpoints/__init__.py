"""The files of a pair: saving, loading, and continuing after a crash."""
