"""Hostile bytes for every parser: `make fuzz`. Coverage-guided, bounded in time and memory; what was found lies in `.cache/fuzz`."""
