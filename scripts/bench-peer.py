#!/usr/bin/env python3
"""The careful script: Kafka into PostgreSQL exactly once, by hand. scripts/bench --peer measures it beside Onceflow.

    bench-peer.py SERVERS TOPIC URL PARTITIONS

Two processes, each with half of the partitions. A batch goes in by COPY, and its positions in the same transaction. It reads
to the ends that the topic has at the start, and prints the rate over all commits but each process's first. It knows nothing of
bad records, of a second instance, of upserts or of a topic that was recreated.
"""
import json
import multiprocessing
import sys
import time

import psycopg
from confluent_kafka import Consumer, TopicPartition

BATCH = 10_000
COLUMNS = ("id", "account", "amount", "ts", "merchant", "note")


def work(servers, topic, url, partitions, ends, results):
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "careful", "enable.auto.commit": False})
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT partition, next_offset FROM careful WHERE partition = ANY(%s)", [partitions])
        position = dict.fromkeys(partitions, 0) | dict(cursor.fetchall())
        connection.commit()
        consumer.assign([TopicPartition(topic, at, position[at]) for at in partitions])
        commits = []
        while any(position[at] < ends[at] for at in partitions):
            messages = [message for message in consumer.consume(BATCH, 0.2) if not message.error()]
            if not messages:
                continue
            with cursor.copy(f"COPY payments ({', '.join(COLUMNS)}) FROM STDIN") as copy:
                for message in messages:
                    row = json.loads(message.value())
                    copy.write_row([row[column] for column in COLUMNS])
                    position[message.partition()] = message.offset() + 1
            cursor.executemany("UPDATE careful SET next_offset = %s WHERE partition = %s", [(position[at], at) for at in partitions])
            connection.commit()
            commits.append((time.time(), len(messages)))
    consumer.close()
    results.put(commits)


def main():
    servers, topic, url, partitions = sys.argv[1:5]
    partitions = list(range(int(partitions)))
    probe = Consumer({"bootstrap.servers": servers, "group.id": "careful"})
    ends = {at: probe.get_watermark_offsets(TopicPartition(topic, at), timeout=30)[1] for at in partitions}
    probe.close()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE careful (partition int PRIMARY KEY, next_offset bigint NOT NULL)")
        for at in partitions:
            connection.execute("INSERT INTO careful VALUES (%s, 0)", [at])
    results = multiprocessing.Queue()
    halves = [half for half in (partitions[0::2], partitions[1::2]) if half]
    workers = [multiprocessing.Process(target=work, args=(servers, topic, url, half, ends, results)) for half in halves]
    for worker in workers:
        worker.start()
    runs = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    first, last = min(run[0][0] for run in runs), max(run[-1][0] for run in runs)
    print("rate", sum(records for run in runs for _, records in run[1:]) / (last - first))


if __name__ == "__main__":
    main()
