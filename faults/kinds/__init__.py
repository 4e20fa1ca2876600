"""One fault a file: `WHAT` (a line for the table), `SHORT` and `FULL` (how much of it), and `play(scene, size)`."""
