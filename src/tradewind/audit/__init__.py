"""The audit: every invariant of the platform, checked across all its databases, and each violation by its name.

The same code runs from the command line, in the tests, and as a job in production. It only reads.

    invariants.py   what must hold, a sentence each, and the report
    sources.py      where the books are
    look.py         a look into one database
    streams.py      waiting until what was committed before the audit has taken its course
    books.py        all databases in an order that makes them comparable; motion.py: what is on its way between them
    compare.py      a million rows here against a million there
    checks/         one file a subject: SQL in, violations out
    run.py          all of it in order
"""
