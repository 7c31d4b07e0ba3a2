"""What travels and what is recorded: plain data, without any I/O."""
