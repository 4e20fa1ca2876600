"""A cluster and a control plane in one process, under virtual time: for what a real API server cannot play."""
