"""What is true of products, stock and orders: pure, no I/O, no clock, no random.

`saga` says when an order may move and what follows, `signals` what can move it, `order` what it is, `pricing` what it
costs, `stock` where its goods are, `product` what is for sale, `currencies` what it may be paid in.
"""
