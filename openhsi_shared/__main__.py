"""`python -m openhsi_shared` is the command line."""

from openhsi_shared.cli import main

if __name__ == "__main__":
    main(prog_name="openhsi-shared")
