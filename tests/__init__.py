import os

# The tests read English texts, whatever the system's language is. A process in another language is started with it.
os.environ.setdefault("HEARTHTUNE_LANGUAGE", "en")
