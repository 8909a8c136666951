"""mailrules against its peers and against the floor, in one run: `make bench`, or `python -m benchmarks`."""
