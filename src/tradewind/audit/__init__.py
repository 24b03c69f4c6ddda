"""The audit: every invariant of the platform, checked across all its databases, and each violation by its name.

The same code runs from the command line, in the tests, and as a job in production. It only reads: every database is seen in one
REPEATABLE READ, READ ONLY transaction.

    invariants.py   what must hold, a sentence each
    sources.py      where the books are, and one consistent look into each
    streams.py      waiting until what was committed before the audit has taken its course
    checks/         one file a subject: SQL in, violations out
    run.py          all of it in order
"""
