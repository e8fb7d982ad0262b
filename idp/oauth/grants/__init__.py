"""One small class per grant: what it requires, what it consumes, what it gives."""
