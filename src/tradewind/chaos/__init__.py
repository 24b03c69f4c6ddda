"""Seeded faults against a whole platform while customers use it, and the proof afterwards that nothing was lost or doubled."""
