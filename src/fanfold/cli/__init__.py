"""The command line: `fanfold`, with one module for each noun."""
