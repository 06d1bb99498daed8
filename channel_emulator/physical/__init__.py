"""The physical layer under packets: modulation, fading and codes, each against its closed form. No packets in here."""
