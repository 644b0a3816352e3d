"""The command line: one thin command a file. Nothing imports these."""
