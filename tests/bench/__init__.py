"""Benchmarks: `make bench`, or `make bench SECTION=stores`. What they say is in README.md here."""
