"""Power, repair packets and how they are allocated to what is sent."""
