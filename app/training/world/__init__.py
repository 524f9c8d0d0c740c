"""A model of a small cluster with its registry, behind the ports of the live clients. Whether a pull works follows from its state."""
