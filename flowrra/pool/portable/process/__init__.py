"""What runs in a spawned worker. The engine imports none of it."""
