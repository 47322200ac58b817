"""What the agent does about what it sees: `handle(inputs, now) → effects`, without touching anything."""
