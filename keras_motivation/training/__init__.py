"""What happens in a batch: its loss, its update, its logs."""
