"""How the losses and metrics of both models are kept, named and logged."""
