"""`python -m secondsight`: the command line where the console script is not on the path."""

from secondsight.cli import main

if __name__ == "__main__":
    main()
