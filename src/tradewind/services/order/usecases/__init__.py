"""What order-service can do: `catalogue` with products and stock, `ordering` with orders, `deadlines` by itself."""
