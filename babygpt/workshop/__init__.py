"""The tools of a workshop: for laptops before it starts, and for the room."""
