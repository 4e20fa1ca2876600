"""Alembic's entry: runs the revisions in one transaction on the connection that `migrate.py` hands over."""

from alembic import context

from paddock_controlplane.migrate import target_metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=target_metadata())
with context.begin_transaction():
    context.run_migrations()
