"""One file a program, or a family of programs: how it is installed, what it stores, and how it restores that."""
