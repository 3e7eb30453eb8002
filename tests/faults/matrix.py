"""The matrix of all scenarios: name, rounds, attack, number of the promise that is attacked, preparation."""

from typing import Final

from tests.faults.attacks import consumers, data, database, everything, kafka, negative_controls, rolling_upgrade, soak
from tests.faults.scenario import Scenario

_two_under_load: Final = consumers.start_under_load(2)

SCENARIOS: Final = (
    Scenario("kill-after-claim", 25, consumers.kill_while_blocked(consumers.block_after_claim), "1"),
    Scenario("kill-after-copy", 25, consumers.kill_while_blocked(consumers.block_after_copy), "1"),
    Scenario("kill-before-commit", 25, consumers.kill_while_blocked(consumers.block_before_commit), "1"),
    Scenario("kill-in-commit", 25, consumers.kill_while_blocked(consumers.block_in_commit), "1"),
    Scenario("kill-after-commit", 25, consumers.kill_after_commit, "1"),
    Scenario("kill-at-random", 50, consumers.kill_one_at_random, "1", consumers.start_under_load(3)),
    Scenario("freeze", 20, consumers.freeze_until_fenced, "1"),
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
    Scenario("postgres-killed", 20, database.kill_server, "1, 4", _two_under_load),
    Scenario("postgres-terminates", 20, database.terminate_sessions, "1, 4", _two_under_load),
    Scenario("postgres-cut-in-commit", 20, database.cut_in_commit, "1, 4"),
    Scenario("postgres-away", 10, database.be_down_at_start, "1"),
    Scenario("kafka-killed", 10, kafka.kill_broker, "1", _two_under_load),
    Scenario("kafka-leader-killed", 10, kafka.kill_leader, "1", _two_under_load, three_brokers=True),
    Scenario("postgres-outage", 1, database.be_down_for_long, "1, 5"),
    Scenario("kafka-offsets", 6, kafka.change_group_offsets, "1", min_rounds=3),
    Scenario("kafka-retention", 4, kafka.delete_unread_records, "1, 4"),
    Scenario("kafka-topic-anew", 2, kafka.recreate_topic, "1, 4"),
    Scenario("disk-full", 3, data.fill_disk, "4", data.add_insert_trigger),
    Scenario("poison", 3, data.send_rejected_rows, "4", data.add_check_constraint),
    Scenario("broken-release", 2, data.break_producer_release, "4", min_rounds=2),
    Scenario("duplicate-storm", 3, data.resend_an_hour, "2, 3"),
    Scenario("everything", 5, everything.kill_and_restart, "1, 2, 3, 4"),
    Scenario("fault-heals", 1, everything.heal_fault, "1, 4"),
    Scenario(
        "soak",
        120,
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
        negative_control=True,
    ),
    Scenario(
        "control-offsets",
        1,
        negative_controls.rewind,
        "1",
        negative_controls.start_at_offsets_in_kafka,
        negative_control=True,
    ),
)
