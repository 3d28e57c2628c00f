"""A study in one small file: pretrainings x downstream tasks x seeds, run where it is missing. See docs/suites.md.

    suite.py   from the file to its jobs, one run of one tool each
    inputs.py  what the result of a job depends on, and what changed since
    state.py   what the disk says of a job: done, begun, stale; its lock
    plan.py    what the screen shows: the plan with estimated costs, the table
    local.py   runs jobs on this machine; the command line of a job
    slurm.py   submits jobs to Slurm
    curves.py  runs and marks of learning curves, and what was measured of them;  turns.py: trains them in turns

Nothing here imports torch, and a second call of a finished suite does not import mmengine either: it answers within
seconds.
"""
