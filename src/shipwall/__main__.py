"""`python -m shipwall`."""

from shipwall.cli import main

main()
