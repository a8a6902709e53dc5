"""Which layer is which by the graphs of both models: blocks that only one of them has are left out."""
