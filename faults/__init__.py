"""Real faults on the real stack under load, and what the ledger says afterwards."""
