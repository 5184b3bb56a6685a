"""Logger names. Lines say what happened to which run; ``extra`` carries the same for machines."""

from __future__ import annotations

import logging

engine = logging.getLogger("flowrra.engine")
pool = logging.getLogger("flowrra.pool")
events = logging.getLogger("flowrra.events")
