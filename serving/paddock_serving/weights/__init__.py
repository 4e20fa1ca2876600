"""A model's files: fetched, verified, stored by digest, and their tokenizer published."""
