"""How an optimizer updates a part of the weights of a pair."""
