"""Routes, and the keys that they become; pure."""
