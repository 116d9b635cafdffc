"""`python -m taktwatch` is the command line."""

from taktwatch.cli import main

if __name__ == "__main__":
    main()
