"""One copy of a model in several pods: a leader that starts the ranks over MPI, workers that let it in over SSH."""
