"""What both ends agree on: types, interfaces, packets, coding, the wire. Imports no sibling."""
