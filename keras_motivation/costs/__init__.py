"""What a forward pass and a whole training cost in FLOPs."""
