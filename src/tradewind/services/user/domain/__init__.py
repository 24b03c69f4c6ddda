"""What is true of users: their profile, and the addresses things are sent to."""
