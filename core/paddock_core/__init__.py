"""What every part of Paddock shares: pure decisions and the types that travel between the parts.

Nothing here reads a file, a clock, the network or a random source: time, bytes and identifiers are arguments.
"""
