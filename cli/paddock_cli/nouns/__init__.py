"""The nouns of `paddock`, one a file. See paddock_cli.main."""
