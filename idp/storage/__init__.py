"""Where state lives: the SQL database (the only truth), the Store (may be flushed), the vault."""
