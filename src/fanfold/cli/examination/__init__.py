"""What `fanfold doctor` looks at: a table of checks, and what they find."""
