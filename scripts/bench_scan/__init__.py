"""What the scanner costs: `make bench-scan` prints every measure with its target and the limit of the machine beside it."""
