"""Customers made of code: the demonstration's story and the benchmark's load. They know the platform by its public API alone."""
