"""The matrix of all scenarios: name, rounds, attack, number of the promise that is attacked, preparation."""

from typing import Final

from tests.faults.attacks import (
    clocks,
    consumers,
    data,
    database,
    everything,
    failover,
    kafka,
    negative_controls,
    records,
    rolling_upgrade,
    soak,
    topics,
    transactions,
)
from tests.faults.attacks.levels import archiving, folding
from tests.faults.scenario import Scenario

_at_rest: Final = failover.start_consumers
_two_under_load: Final = consumers.start_under_load(2)

SCENARIOS: Final = (
    Scenario("kill-after-claim", 15, consumers.kill_while_blocked(consumers.block_after_claim), "1"),
    Scenario("kill-after-copy", 15, consumers.kill_while_blocked(consumers.block_after_copy), "1"),
    Scenario("kill-before-commit", 15, consumers.kill_while_blocked(consumers.block_before_commit), "1"),
    Scenario("kill-in-commit", 15, consumers.kill_while_blocked(consumers.block_in_commit), "1"),
    Scenario("kill-after-commit", 15, consumers.kill_after_commit, "1"),
    Scenario("kill-at-random", 30, consumers.kill_one_at_random, "1", consumers.start_under_load(3)),
    Scenario("freeze", 12, consumers.freeze_until_fenced, "1"),
    Scenario("scale", 10, consumers.scale, "1", consumers.start_under_load(1)),
    Scenario(
        "rolling", 3, rolling_upgrade.upgrade_each(static_membership=True), "1", rolling_upgrade.start_static_members
    ),
    Scenario(
        "rolling-unnamed",
        3,
        rolling_upgrade.upgrade_each(static_membership=False),
        "1",
        rolling_upgrade.start_dynamic_members,
    ),
    Scenario("postgres-killed", 12, database.kill_server, "1, 4", _two_under_load),
    Scenario("postgres-terminates", 20, database.terminate_sessions, "1, 4", _two_under_load),
    Scenario("postgres-cut-in-commit", 20, database.cut_in_commit, "1, 4"),
    Scenario("postgres-away", 10, database.be_down_at_start, "1"),
    Scenario("kafka-killed", 8, kafka.kill_broker, "1", _two_under_load),
    Scenario("kafka-leader-killed", 6, kafka.kill_leader, "1", _two_under_load, three_brokers=True),
    Scenario("postgres-outage", 1, database.be_down_for_long, "1, 5"),
    Scenario("failover-synchronous", 3, failover.fail_over_synchronously, "1", _at_rest, copied_postgres=True),
    Scenario("failover-asynchronous", 3, failover.fail_over_asynchronously, "1", _at_rest, copied_postgres=True),
    Scenario("failover-split-brain", 3, failover.split_brain, "1", _at_rest, copied_postgres=True),
    Scenario("postgres-restored", 3, failover.restore_to_an_instant, "1", _at_rest, copied_postgres=True),
    Scenario("postgres-slow", 4, database.answer_slowly, "1, 5"),
    Scenario("kafka-offsets", 6, kafka.change_group_offsets, "1", min_rounds=3),
    Scenario("kafka-retention", 4, kafka.delete_unread_records, "1, 4"),
    Scenario("kafka-topic-anew", 4, topics.recreate_topic, "1, 4", min_rounds=2),
    Scenario("kafka-partitions-added", 2, topics.add_partitions(topics.DYNAMIC), "1"),
    Scenario("kafka-partitions-added-static", 2, topics.add_partitions(topics.STATIC), "1"),
    Scenario(
        "kafka-no-leader",
        4,
        topics.kill_the_only_copy,
        "1, 4",
        topics.keep_single_copies,
        three_brokers=True,
    ),
    Scenario("kafka-transactions", 4, transactions.mix_transactions, "1"),
    Scenario("timestamps", 2, records.send_absurd_timestamps, "4", records.accept_any_timestamp),
    Scenario("read-again", 4, records.read_again, "2, 4"),
    Scenario("large-records", 2, records.send_large_records, "4, 5", records.accept_large_records),
    Scenario("clock-consumer", 3, clocks.shift_a_consumer, "1, 4"),
    Scenario("clock-maintenance", 2, clocks.shift_maintenance, "1"),
    Scenario("folding", 40, folding.interrupt_folding, "1, 4", min_rounds=folding.ROUNDS_OF_A_DAY),
    Scenario("merging", 20, folding.interrupt_merging, "1, 4"),
    Scenario("archiving", 20, archiving.interrupt_archiving, "1, 4", min_rounds=archiving.ROUNDS_OF_A_MONTH),
    Scenario("disk-full", 3, data.fill_disk, "4", data.add_insert_trigger),
    Scenario("poison", 3, data.send_rejected_rows, "4", data.add_check_constraint),
    Scenario("broken-release", 2, data.break_producer_release, "4", min_rounds=2),
    Scenario("duplicate-storm", 3, data.resend_an_hour, "2, 3"),
    Scenario("everything", 5, everything.kill_and_restart, "1, 2, 3, 4"),
    Scenario("fault-heals", 1, everything.heal_fault, "1, 4"),
    Scenario(
        "soak",
        60,
        soak.attack_at_random,
        "1, 2, 3, 4, 5",
        consumers.start_under_load(3, records_per_second=soak.RECORDS_PER_SECOND),
    ),
    Scenario(
        "control-claim",
        1,
        negative_controls.freeze,
        "1",
        negative_controls.remove_claim_condition,
        negative_control="duplicated",
    ),
    Scenario(
        "control-offsets",
        1,
        negative_controls.rewind,
        "1",
        negative_controls.start_at_offsets_in_kafka,
        negative_control="duplicated",
    ),
    Scenario("control-folded", 1, negative_controls.shorten_folded_day, "1", negative_control="lost"),
)
