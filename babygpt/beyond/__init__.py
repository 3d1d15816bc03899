"""Part two: what comes after the lecture, one file per idea. It imports the core, and the core never imports it."""
