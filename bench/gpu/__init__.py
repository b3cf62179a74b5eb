"""Speed and memory on a graphics card, each measurement in a process of its own: `python -m bench.gpu --help`."""
