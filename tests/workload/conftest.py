"""How property tests run in this room."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)  # other work on the machine is no failure
settings.load_profile("no deadline")
