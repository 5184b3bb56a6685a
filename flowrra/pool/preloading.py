"""What the zygote imports for its workers, and when: as soon as it is known to be needed, or once there is time."""

WORTH_PRELOADING = ("numpy", "pandas", "scipy", "sklearn", "pyarrow")
"""Never the user's own modules: what they do when they are imported belongs into a worker."""
AFTER_THE_START = (
    "hashlib",
    "traceback",
    "flowrra.pool.encoding.pickler",
    "flowrra.pool.encoding.culprit",
)
"""What a worker needs for a failure, a draw, or a function with a class of its own, and no first run waits for."""
