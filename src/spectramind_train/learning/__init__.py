"""How a model learns: objective, optimizer, batches, and the loop around them."""
