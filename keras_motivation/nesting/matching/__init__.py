"""Which variable of the base corresponds to which of the motivated model."""
