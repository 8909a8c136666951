"""The demonstration: an IMAP server inside this process, sample mail, and rules for it."""
