"""Base classes of faults, and what they are made of. The faults themselves are in impairments/."""
