"""What comes with the package beside its code: configs and tools, in a checkout and in an installed wheel.

    places.py   where they lie
    configs.py  a config by its path, by a short name, or by `mimtransfer::...`, with near matches
    heads.py    what the head of a config says, for a list of one line each

Only the standard library is imported here: `mimtransfer --help` answers at once.
"""
