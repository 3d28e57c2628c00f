"""What the commands in tools/ share: from a command line to a config that is ready to run, and errors in one line.

    command.py     the console command `mimtransfer`, which runs them; completion.py completes it in a shell
    parser.py      their parser: an unknown option is answered with near ones
    kinds.py       what a config is for, and the command that takes it
    launch.py      a config with options, work dir, processes, resume, seed, start weights
    options.py     KEY=VALUE overrides, read and written
    overrides.py   overrides applied to a config, refused where nothing reads the key
    labels.py      label_share, label_shots, label_seed: a part of the labels by one option
    explain.py     clean_exit: what the user did wrong, told from the error
    prediction.py  a trained detector or segmentor on any images
    prediction_files.py  the JSON files of that
    revisions.py   the code of other revisions, for the tools that compare them

Nothing is imported here: `--help` answers at once.
"""
