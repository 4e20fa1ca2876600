"""Compiled TensorRT engines: what one is made from (its key), how it is made (its recipe), whether it can be loaded."""
