"""One module for each command; each has `run(words) -> exit code`."""
