"""`python -m giq` is the command `giq`."""

from __future__ import annotations

import sys

from giq.cli import main

sys.exit(main())
