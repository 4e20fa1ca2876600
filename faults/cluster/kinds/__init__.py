"""One fault a file: ROW, WHAT, PASS, SHORT, FULL and `play(stage, size)`. See README.md beside this folder."""
