"""Faults of the cluster and of the operator in it: one file a fault, one row a file in docs/reliability.md."""
