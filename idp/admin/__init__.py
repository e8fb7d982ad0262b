"""The management API: people, apps, sessions and rules for administrators and their programs."""
