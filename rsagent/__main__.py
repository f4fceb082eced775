"""`python -m rsagent`, the same as the command `rsagent`."""

from rsagent.cli.main import main

if __name__ == "__main__":
    main()
