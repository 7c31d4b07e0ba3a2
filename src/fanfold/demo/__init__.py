"""What Fanfold is, in a minute and on data that every machine has: `python -m fanfold.demo`."""
