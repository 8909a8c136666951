"""`undo`: what was done is found again, and taken back."""
