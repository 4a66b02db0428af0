"""``python -m cloudmart.cli``."""

from cloudmart.cli import main

if __name__ == "__main__":
    main()
