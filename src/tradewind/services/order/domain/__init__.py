"""What is true of products, stock and orders: pure, no I/O, no clock, no random.

`saga` is the table of when an order may move, and until when; `moving` acts on it; `signals` is what can move an order
and `order` what it is; `pricing` what it costs, `stock` where its goods are, `product` what is for sale, `currencies`
what it may be paid in.
"""
