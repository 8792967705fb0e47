"""Terminal output: console, live display, tables."""
