"""How alembic runs here: on the connection handed over, in one transaction, without a configuration file."""

from __future__ import annotations

from alembic import context

from shipwall.adapters.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
