"""What is true of money: pure, no I/O, no clock, no chance.

payment     where a payment stands and what it may become
charge      what the provider's word means, and what to ask of it next
settlement  what a finding makes of a payment
unwanted    a charge that nobody asked for, or nobody wants any more
refund      the same for money on its way back
ledger      the chart of accounts and what each cause books
period      moments and periods of the books
"""
