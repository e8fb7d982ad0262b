"""The command line, a module per noun: `idp <noun> <verb>`.

Every command but `demo` takes `--json`. It ends with 0 when it did what was asked, 1 when it
refused (the reason is on standard error), 2 when it was called wrongly. Parts that are heavy to
load are imported inside the commands that need them.
"""
