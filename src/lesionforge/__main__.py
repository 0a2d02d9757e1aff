"""``python -m lesionforge`` is ``lesionforge``."""

from lesionforge.cli import main

if __name__ == "__main__":
    main()
