"""Everything a browser or a program sends to us over HTTP."""
