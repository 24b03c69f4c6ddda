"""What the room remembers: all its SQL.

intents   payments and their attempts, recorded before anybody is called
changes   what a decision changed, in one statement for many payments
refunds   money on its way back
queue     what is to be taken up, and by whom
ledger    the books
seals     the hash chain over them
comparison  the provider's list of charges beside ours
notices   what the provider told by itself
reading   what the doors show
"""
