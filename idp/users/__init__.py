"""People: names, passwords, roles, throttles, rules."""
