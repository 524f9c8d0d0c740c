"""What is fast and what is not, each beside a peer or a floor in the same run (`python -m benchmarks.run`)."""
