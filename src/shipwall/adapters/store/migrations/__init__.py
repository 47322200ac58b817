"""Migrations of the store's schema, oldest first in `versions`; run at start by `database.migrate`."""
