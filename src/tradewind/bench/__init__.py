"""The figures: how fast it starts, what it weighs, how many orders it carries, what the gateway costs. Printed, never asserted."""
