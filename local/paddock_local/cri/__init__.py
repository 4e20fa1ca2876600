"""A small container runtime for one machine: containers are processes with a mount namespace of their own.

`runtime` is the process that the kubelet talks to over CRI; each container lives under a `shim` of its own
that outlives the runtime, so that a restarted runtime adopts what runs. State is files (`store`), images
are data (`images`).
"""
