"""What transmitter and receiver share: types, interfaces, packets, entropy coding, FEC, nets and the wire format.

This package imports no sibling package.
"""
