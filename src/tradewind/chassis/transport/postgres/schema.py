"""The bus in PostgreSQL: its tables, and the one function that writes.

The bus has a database of its own, so these statements do not belong to any room's migrations. `ensure_schema` applies
what is missing, step by step; `tradewind migrate` calls it. A published step is never changed, only followed by another.
"""

from __future__ import annotations

from tradewind.chassis.postgres import Database, dedicated_connection

_LOCK = 7_477_001
_STEPS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE topic (
            topic text PRIMARY KEY,
            partitions int NOT NULL CHECK (partitions BETWEEN 1 AND 1000),
            created_at timestamptz NOT NULL DEFAULT now()
        )
        """,
        # `head` is the offset the next message gets. Half-empty pages let its updates stay on their page (HOT).
        """
        CREATE TABLE partition (
            topic text NOT NULL REFERENCES topic,
            partition int NOT NULL,
            head bigint NOT NULL DEFAULT 0,
            PRIMARY KEY (topic, partition)
        ) WITH (fillfactor = 50)
        """,
        """
        CREATE TABLE log (
            topic text NOT NULL,
            partition int NOT NULL,
            "offset" bigint NOT NULL,
            key text NOT NULL,
            event_id uuid NOT NULL,
            type text NOT NULL,
            value bytea NOT NULL,
            headers text,
            appended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (topic, partition, "offset")
        )
        """,
        # The id is the class of the group's advisory locks on the topic's partitions.
        """
        CREATE TABLE subscription (
            id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            consumer_group text NOT NULL,
            topic text NOT NULL REFERENCES topic,
            UNIQUE (consumer_group, topic)
        )
        """,
        """
        CREATE TABLE consumer_offset (
            consumer_group text NOT NULL,
            topic text NOT NULL,
            partition int NOT NULL,
            next_offset bigint NOT NULL,
            committed_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (consumer_group, topic, partition)
        ) WITH (fillfactor = 50)
        """,
        # The number of partitions decides where a key goes, so the first who names it decides for good.
        """
        CREATE FUNCTION declare_topic(wanted text, wanted_partitions int) RETURNS int LANGUAGE plpgsql AS $$
        DECLARE
            agreed int;
        BEGIN
            SELECT partitions INTO agreed FROM topic WHERE topic = wanted;
            IF FOUND THEN
                RETURN agreed;
            END IF;
            INSERT INTO topic (topic, partitions) VALUES (wanted, wanted_partitions) ON CONFLICT DO NOTHING;
            SELECT partitions INTO STRICT agreed FROM topic WHERE topic = wanted;
            INSERT INTO partition (topic, partition)
            SELECT wanted, n FROM generate_series(0, agreed - 1) AS n ON CONFLICT DO NOTHING;
            RETURN agreed;
        END $$
        """,
        # The rows of `partition` stay locked until the commit, so offsets become visible in their order, without a gap.
        # All writers lock in the same order, before anything else, so they cannot lock each other out.
        """
        CREATE FUNCTION append(
            topics text[], partitions int[], keys text[], ids uuid[], types text[], bodies bytea[], heads text[]
        ) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM FROM partition AS p
            WHERE (p.topic, p.partition) IN (SELECT * FROM unnest(topics, partitions))
            ORDER BY p.topic, p.partition
            FOR NO KEY UPDATE;

            WITH message AS (
                SELECT *, row_number() OVER (PARTITION BY topic, partition ORDER BY line) - 1 AS nth
                FROM unnest(topics, partitions, keys, ids, types, bodies, heads) WITH ORDINALITY
                    AS m(topic, partition, key, event_id, type, value, headers, line)
            ), moved AS (
                UPDATE partition AS p SET head = p.head + many.n
                FROM (SELECT topic, partition, count(*) AS n FROM message GROUP BY topic, partition) AS many
                WHERE p.topic = many.topic AND p.partition = many.partition
                RETURNING p.topic, p.partition, p.head - many.n AS base
            )
            INSERT INTO log (topic, partition, "offset", key, event_id, type, value, headers)
            SELECT m.topic, m.partition, base + nth, key, event_id, type, value, headers
            FROM message AS m JOIN moved ON moved.topic = m.topic AND moved.partition = m.partition;
        END $$
        """,
    ),
)


async def ensure_schema(url: str) -> int:
    """Bring the bus database at `url` up to date; returns how many steps were applied. Safe to run from many places.

    Raises:
        Unavailable: `database-unavailable`.
    """
    connection = await dedicated_connection(url, application_name="tradewind migrate bus")
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute("CREATE TABLE IF NOT EXISTS bus_version (step int PRIMARY KEY)")
            done = await connection.fetchval("SELECT count(*) FROM bus_version")
            for number, statements in enumerate(_STEPS[done:], done + 1):
                for statement in statements:
                    await connection.execute(statement)
                await connection.execute("INSERT INTO bus_version (step) VALUES ($1)", number)
            return len(_STEPS) - int(done)
    finally:
        await connection.close()


async def missing_steps(database: Database) -> int:
    """How many steps `ensure_schema` would apply, without applying them: 0 is up to date."""
    if await database.value("SELECT to_regclass('bus_version')") is None:
        return len(_STEPS)
    return len(_STEPS) - int(await database.value("SELECT count(*) FROM bus_version"))
