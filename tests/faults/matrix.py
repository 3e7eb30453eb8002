"""The matrix."""

from typing import Final

from tests.faults.attacks import consumers, data, database, kafka, negative_controls, rolling_upgrade, soak
from tests.faults.scenario import Scenario

SCENARIOS: Final = (
    Scenario("kill-after-claim", 25, consumers.kill_while(consumers.after_claim), "1"),
    Scenario("kill-after-copy", 25, consumers.kill_while(consumers.after_copy), "1"),
    Scenario("kill-before-commit", 25, consumers.kill_while(consumers.before_commit), "1"),
    Scenario("kill-in-commit", 25, consumers.kill_while(consumers.in_commit), "1"),
    Scenario("kill-after-commit", 25, consumers.kill_after_commit, "1"),
    Scenario("kill-at-random", 50, consumers.kill_one_of_three, "1", consumers.three_under_load),
    Scenario("freeze", 20, consumers.freeze_past_session, "1"),
    Scenario("scale", 10, consumers.scale, "1", consumers.one_under_load),
    Scenario("rolling", 3, rolling_upgrade.replace_each(named=True), "1", rolling_upgrade.three_named),
    Scenario("rolling-unnamed", 3, rolling_upgrade.replace_each(named=False), "1", rolling_upgrade.three_unnamed),
    Scenario("postgres-killed", 20, database.kill_server, "1, 4", database.two_under_load),
    Scenario("postgres-terminates", 20, database.terminate_sessions, "1, 4", database.two_under_load),
    Scenario("postgres-cut-in-commit", 20, database.cut_in_commit, "1, 4"),
    Scenario("postgres-away", 10, database.away_at_start, "1"),
    Scenario("kafka-killed", 10, kafka.kill_broker, "1", database.two_under_load),
    Scenario("kafka-leader-killed", 10, kafka.kill_leader, "1", database.two_under_load, three_brokers=True),
    Scenario("postgres-outage", 1, database.long_outage, "1, 5"),
    Scenario("kafka-offsets", 6, kafka.tamper_with_offsets, "1", least_rounds=3),
    Scenario("kafka-retention", 4, kafka.retention_passes, "1, 4"),
    Scenario("kafka-topic-anew", 2, kafka.made_anew, "1, 4"),
    Scenario("disk-full", 3, data.disk_full, "4", data.fail_on_order),
    Scenario("poison", 3, data.poison_in_the_middle, "4", data.forbid_poison),
    Scenario("broken-release", 2, data.broken_release, "4", least_rounds=2),
    Scenario("duplicate-storm", 3, data.resend_an_hour, "2, 3"),
    Scenario("soak", 120, soak.fault_every_ten_seconds, "1, 2, 3, 4, 5", soak.five_times_the_fleet),
    Scenario(
        "control-claim",
        1,
        negative_controls.freeze,
        "1",
        negative_controls.without_the_claims_condition,
        negative_control=True,
    ),
    Scenario(
        "control-offsets",
        1,
        negative_controls.rewind,
        "1",
        negative_controls.with_kafkas_offsets,
        negative_control=True,
    ),
)
