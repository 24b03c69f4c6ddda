"""The bus as topics of an Apache Kafka cluster, through librdkafka: `kafka://host:9092,host:9092[/prefix]`.

`address` reads the URL, `client` configures librdkafka and translates its errors, `cluster` asks and makes topics, `producing`
writes, `subscription` reads as a member of a group on the `member` thread, `scan` reads without one, `wire` has the
bytes and headers. librdkafka is loaded only where the bus is Kafka: it costs a process 11 MB.
"""
