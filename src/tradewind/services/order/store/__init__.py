"""What order-service remembers: all its SQL. `stock` moves goods, `products` and `orders` do the rest."""
