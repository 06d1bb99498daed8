"""What happens to packets between transmitter and receiver. No torch here."""
