"""The version orders of the packaging systems, one module each."""
