"""Facts that happened, and what is owed to receivers because of them."""
