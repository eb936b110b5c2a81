"""Real clients at the running gateway, with stand-ins for all its vendors behind it."""
