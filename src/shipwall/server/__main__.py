"""`python -m shipwall.server`."""

from shipwall.server.main import main

main()
